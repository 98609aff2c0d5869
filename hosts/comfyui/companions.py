"""Text encoders and autoencoder beside a UNet: in its diffusers folder, or in the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
import folder_paths

from ...models.weights import open_weights

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


def load_companions(path: Path) -> tuple[Any, Any]:
    """(CLIP, VAE) that come with the UNet at a path, None for what does not; ComfyUI reads them."""
    embeddings = folder_paths.get_folder_paths("embeddings")
    if path.is_dir():
        encoders = [_first(path / name, _ENCODER_FILES) for name in ("text_encoder", "text_encoder_2")]
        files = [str(file) for file in encoders if file is not None]
        clip = comfy.sd.load_clip(files, embedding_directory=embeddings) if len(files) == 2 else None
        vae_file = _first(path / "vae", _VAE_FILES)
        return clip, None if vae_file is None else _vae(vae_file)
    if not any(name.startswith(_IN_A_CHECKPOINT) for name in open_weights([path])):
        return None, None
    _, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(
        str(path), embedding_directory=embeddings, output_model=False
    )
    return clip, vae


def _vae(file: Path) -> Any:
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(file), safe_load=True))


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
