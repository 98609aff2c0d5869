"""Text encoders and autoencoder beside a UNet: in its diffusers folder, or in the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import comfy.sd
import folder_paths

from ....models.weights import CheckpointError, open_weights, read_tensors
from .small_sdxl import load_clip, load_vae

_ENCODER_FILES = (
    "model.safetensors",
    "model.fp16.safetensors",
    "pytorch_model.bin",
    "pytorch_model.fp16.bin",
)
_VAE_FILES = tuple(
    f"diffusion_pytorch_model{end}" for end in (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
)
_IN_A_CHECKPOINT = ("conditioner.embedders.", "first_stage_model.")


# Sizes of SDXL that ComfyUI's own loaders take for granted: a part, and name and value in its config.json.
_PUBLISHED = {
    "text_encoder": ("hidden_size", 768),
    "text_encoder_2": ("hidden_size", 1280),
    "vae": ("block_out_channels", [128, 256, 512, 512]),
}


def load_text_and_vae(path: Path) -> tuple[Any, Any]:
    """(CLIP, VAE) that come with the UNet at a path, None for what does not; ComfyUI reads them.

    Those of a smaller model than SDXL, as its config.json tells, are read from a diffusers folder alone.
    """
    if path.is_dir():
        return _folder_clip(path), _folder_vae(path)
    weights = open_weights([path])
    if not any(name.startswith(_IN_A_CHECKPOINT) for name in weights):
        return None, None
    options: dict[str, Any] = {"embedding_directory": _embeddings(), "output_model": False}
    if any(name.startswith(_IN_A_CHECKPOINT) for name in weights.quantised):
        # ComfyUI does not know every spelling of what is quantised beside a UNet, and takes numbers.
        state = {name: weights.read(name) for name in weights}
        _, clip, vae, *_ = comfy.sd.load_state_dict_guess_config(state, **options)
    else:
        _, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(str(path), **options)
    return clip, vae


def _folder_clip(folder: Path) -> Any:
    parts = ("text_encoder", "text_encoder_2")
    files = [file for name in parts if (file := _first(folder / name, _ENCODER_FILES)) is not None]
    if len(files) < len(parts):
        return None
    if any(_is_smaller(folder, part) for part in parts):
        return load_clip(folder)
    if any(open_weights([file]).quantised for file in files):
        return _restored_clip(files)
    return comfy.sd.load_clip([str(file) for file in files], embedding_directory=_embeddings())


def _restored_clip(files: list[Path], **paging: bool) -> Any:
    """The CLIP of files with quantised weights, of which ComfyUI does not know every spelling."""
    states = [read_tensors(file) for file in files]
    clip = comfy.sd.load_text_encoder_state_dicts(states, embedding_directory=_embeddings(), **paging)
    clip.patcher.cached_patcher_init = (_restored_clip_patcher, (files,))
    return clip


def _restored_clip_patcher(files: list[Path], **paging: bool) -> Any:
    return _restored_clip(files, **paging).patcher


def _folder_vae(folder: Path) -> Any:
    file = _first(folder / "vae", _VAE_FILES)
    if file is None:
        return None
    if _is_smaller(folder, "vae"):
        return load_vae(folder)
    vae = comfy.sd.VAE(sd=read_tensors(file))
    if vae.first_stage_model is None:
        raise CheckpointError(f"{folder.name}/vae/{file.name} holds no autoencoder that ComfyUI knows.")
    return vae


def _is_smaller(folder: Path, part: str) -> bool:
    """Whether the config.json of a part tells other sizes than SDXL's; without one it does not."""
    file, (size, published) = folder / part / "config.json", _PUBLISHED[part]
    return file.is_file() and json.loads(file.read_text(encoding="utf-8")).get(size, published) != published


def _embeddings() -> list[str]:
    return folder_paths.get_folder_paths("embeddings")


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
