"""SDXL models and LoRAs from disk, refused early and by name when they are something else."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    StableDiffusionGLIGENPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from ...models.sdxl.prediction import read_prediction
from ...models.weights import CheckpointError, Weights, open_weights, read_tensors, read_texts
from .errors import UnsuitableModelError
from .quantised import parts_of_file, parts_of_folder
from .schedule import set_scheduler

# Keys that tell the architectures of single-file checkpoints apart.
_ARCHITECTURES = {
    "Flux": ("double_blocks.0.img_attn.proj.weight",),
    "Stable Diffusion 3": ("joint_blocks.0.x_block.attn.qkv.weight",),
    "Stable Diffusion 1 or 2": ("cond_stage_model.",),
    "the SDXL refiner": ("conditioner.embedders.0.model.",),
}
_SDXL_PARTS = {
    "the UNet": "model.diffusion_model.label_emb.",
    "the first text encoder": "conditioner.embedders.0.transformer.",
    "the second text encoder": "conditioner.embedders.1.model.",
    "the VAE": "first_stage_model.",
}
# The argument was renamed in diffusers 0.40.
_VERSION = tuple(int(part) for part in diffusers.__version__.split(".")[:2])
_DTYPE = "dtype" if _VERSION >= (0, 40) else "torch_dtype"
_ADVICE = "Use an SDXL base model or one made from it."

TextToImage = StableDiffusionXLPipeline | StableDiffusionPipeline

logger = logging.getLogger("instance_composer")


def load_sdxl(
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    config: str | Path | None = None,
) -> StableDiffusionXLPipeline:
    """A text-to-image pipeline with the Euler sampler from a diffusers folder or a single `.safetensors`
    file.

    A single file holds weights only: configuration and tokenizers come from the diffusers folder `config`,
    else from the Hugging Face cache or hub (stabilityai/stable-diffusion-xl-base-1.0). What it predicts is
    told by its own marks, if it has any. Quantised weights are restored. Raises `UnsuitableModelError` for
    another architecture and for files that cannot be read; only safetensors are read.
    """
    path = Path(path)
    if not path.exists():
        raise UnsuitableModelError(
            f"there is no model at {path}; give a diffusers folder or a .safetensors file"
        )
    pipeline = _load_folder(path, dtype) if path.is_dir() else _load_file(path, dtype, config)
    channels = pipeline.unet.config.in_channels
    if channels != pipeline.vae.config.latent_channels:
        raise UnsuitableModelError(
            f"{path.name} takes {channels} input channels: it is an inpainting or editing model and cannot "
            f"start from noise alone. {_ADVICE}"
        )
    return pipeline.to(device)


def load_stable_diffusion(path: str | Path) -> TextToImage:
    """A pipeline of SDXL, as `load_sdxl` has it, or of Stable Diffusion 1 from a diffusers folder.

    Raises `UnsuitableModelError` as `load_sdxl` does.
    """
    path = Path(path)
    kind = _read_kind(path) if path.is_dir() else ""
    if kind and not kind.startswith("StableDiffusionXL") and kind != StableDiffusionPipeline.__name__:
        raise UnsuitableModelError(
            f"{path.name} is a {kind}; SDXL and Stable Diffusion 1 can be used here, and models made "
            "from them"
        )
    if kind != StableDiffusionPipeline.__name__:
        return load_sdxl(path)
    pipeline: Any = _from_folder(
        path, StableDiffusionPipeline.from_pretrained, torch.float32, safety_checker=None
    )
    if pipeline.unet.config.in_channels != pipeline.vae.config.latent_channels:
        raise UnsuitableModelError(
            f"{path.name} takes {pipeline.unet.config.in_channels} input channels: it is an inpainting or "
            "editing model and cannot start from noise alone. Use a base model or one made from it."
        )
    return pipeline


def load_gligen(
    path: str | Path, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> StableDiffusionGLIGENPipeline:
    """GLIGEN's pipeline for boxes with texts, from a diffusers folder, with the Euler sampler.

    Raises `UnsuitableModelError` as `load_sdxl` does.
    """
    path = Path(path)
    kind = _read_kind(path) if path.is_dir() else "single file or not there"
    if kind != StableDiffusionGLIGENPipeline.__name__:
        raise UnsuitableModelError(
            f"{path.name} is a {kind}, and GLIGEN is read from a diffusers folder of a "
            f"{StableDiffusionGLIGENPipeline.__name__}"
        )
    pipeline: Any = _from_folder(
        path, StableDiffusionGLIGENPipeline.from_pretrained, dtype, safety_checker=None
    )
    return pipeline.to(device)


def load_loras(pipeline: StableDiffusionXLPipeline, loras: Sequence[tuple[str | Path, float]]) -> None:
    """Add LoRA files with a strength each, to the UNet and the text encoders.

    Raises `UnsuitableModelError` for a file that is not a LoRA for this model; needs peft.
    """
    if loras and find_spec("peft") is None:
        raise ModuleNotFoundError("LoRA files need the Python package peft", name="peft")
    names = []
    for number, (path, _) in enumerate(loras):
        path, name = Path(path), f"lora_{number}"
        if not path.is_file():
            raise UnsuitableModelError(f"there is no LoRA file {path}")
        state = _read_lora(path)
        try:
            pipeline.load_lora_weights(state, adapter_name=name)
        except (RuntimeError, ValueError, KeyError) as error:
            raise UnsuitableModelError(f"the LoRA {path.name} does not fit this model: {error}") from error
        if not any(name in adapters for adapters in pipeline.get_list_adapters().values()):
            raise UnsuitableModelError(f"the LoRA {path.name} holds no weights for this model")
        names.append(name)
    if names:
        pipeline.set_adapters(names, [strength for _, strength in loras])


def _load_folder(path: Path, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    kind = _read_kind(path)
    if not kind.startswith("StableDiffusionXL"):
        raise UnsuitableModelError(
            f"{path.name} is a {kind}, and an IFAdapter works with SDXL only. {_ADVICE}"
        )
    return _from_folder(path, StableDiffusionXLPipeline.from_pretrained, dtype, add_watermarker=False)


def _read_kind(path: Path) -> str:
    """The pipeline's class that a diffusers folder names."""
    index = path / "model_index.json"
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except FileNotFoundError:
        raise UnsuitableModelError(
            f"{path} is not a diffusers model: it has no model_index.json. Give the folder that holds "
            "unet/, vae/, text_encoder/ and text_encoder_2/, or a .safetensors file"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UnsuitableModelError(f"{index} cannot be read as the index of a diffusers model") from None


def _from_folder(path: Path, read: Any, dtype: torch.dtype, **options: Any) -> Any:
    # Published folders often hold half-precision files under a name of their own and no others.
    unet = path / "unet"
    only_half = not any(
        (unet / f"diffusion_pytorch_model.safetensors{end}").exists() for end in ("", ".index.json")
    ) and any(unet.glob("diffusion_pytorch_model.fp16*.safetensors"))
    try:
        restored = parts_of_folder(path, dtype)
    except CheckpointError as error:
        raise UnsuitableModelError(f"{path.name} cannot be loaded ({error})") from error
    pipeline = _reading(
        path,
        read,
        **{_DTYPE: dtype},
        variant="fp16" if only_half else None,
        use_safetensors=True,
        local_files_only=True,
        **restored,
        **options,
    )
    set_scheduler(pipeline, path.name)
    return pipeline


def _load_file(path: Path, dtype: torch.dtype, config: str | Path | None) -> StableDiffusionXLPipeline:
    if path.suffix != ".safetensors":
        raise UnsuitableModelError(
            f"{path.name} is not a .safetensors file, and other kinds can carry code; use a .safetensors "
            "file or a diffusers folder"
        )
    weights = _refusing(open_weights, [path])
    _check_architecture(path, weights)
    marked = _refusing(read_prediction, path.name, weights, weights.read, read_texts(path))
    if config is None:
        logger.info(
            "configuration and tokenizers come from the Hugging Face cache or hub; --config names a folder"
        )
    elif not (Path(config) / "model_index.json").is_file():
        raise UnsuitableModelError(f"{config} is not a diffusers folder: it has no model_index.json")
    options: dict[str, Any] = {
        "config": None if config is None else str(config),
        "local_files_only": config is not None,
    }
    restored = _reading(
        path, lambda _, **told: parts_of_file(path.name, weights, {_DTYPE: dtype}, told), **options
    )
    pipeline = _reading(
        path,
        StableDiffusionXLPipeline.from_single_file,
        **{_DTYPE: dtype},
        **options,
        add_watermarker=False,
        **restored,
    )
    set_scheduler(pipeline, path.name, marked if marked.said else None)
    return pipeline


def _refusing(read: Any, *arguments: Any) -> Any:
    """Call a reader of weights, whose errors become those of this host."""
    try:
        return read(*arguments)
    except CheckpointError as error:
        raise UnsuitableModelError(str(error)) from error


def _reading(path: Path, read: Any, **options: Any) -> Any:
    """Call a diffusers loader, its failures told as what is wrong with the user's files."""
    bars = transformers_logging.is_progress_bar_enabled()
    # One bar for the whole model, diffusers' own, is enough.
    transformers_logging.disable_progress_bar()
    try:
        return read(str(path), **options)
    except UnsuitableModelError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        hint = (
            "Without a connection, give --config (config=) a diffusers SDXL folder for configuration and "
            "tokenizers."
            if options.get("config", "") is None
            else "A file may be missing or truncated: compare with the source and download it again."
        )
        raise UnsuitableModelError(f"{path.name} cannot be loaded ({reason}). {hint}") from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()


def _check_architecture(path: Path, keys: Weights) -> None:
    missing = [part for part, start in _SDXL_PARTS.items() if not any(key.startswith(start) for key in keys)]
    if not missing:
        return
    for name, starts in _ARCHITECTURES.items():
        if any(key.removeprefix("model.diffusion_model.").startswith(starts) for key in keys):
            raise UnsuitableModelError(
                f"{path.name} is {name}, and an IFAdapter works with SDXL only. {_ADVICE}"
            )
    raise UnsuitableModelError(
        f"{path.name} is not a whole SDXL checkpoint: it lacks {', '.join(missing)}. {_ADVICE}"
    )


def _read_lora(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix not in (".safetensors", ".sft"):
        raise UnsuitableModelError(f"the LoRA {path.name} is not a .safetensors file, which alone are read")
    try:
        return read_tensors(path)
    except CheckpointError as error:
        raise UnsuitableModelError(f"the LoRA {error}") from error
