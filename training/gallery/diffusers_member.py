"""A member that is any text-to-image model of diffusers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoPipelineForText2Image,
    DiffusionPipeline,
    FluxPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from ...hosts.diffusers_sdxl import UnsuitableModelError, load_loras, load_sdxl
from ...models.weights import open_weights
from ...rankings.errors import GalleryError
from ...rankings.gallery import Gallery, Member, Prompt, looks_like_a_hub_name
from ..itercomp.feedback_run import load_unet

# A key that tells a single file's architecture, and the pipeline that reads it.
_SINGLE_FILES: tuple[tuple[str, Any], ...] = (
    ("double_blocks.0.img_attn.proj.weight", FluxPipeline),
    ("joint_blocks.0.x_block.attn.qkv.weight", StableDiffusion3Pipeline),
    ("cond_stage_model.", StableDiffusionPipeline),
)
# The argument was renamed in diffusers 0.40.
_VERSION = tuple(int(part) for part in diffusers.__version__.split(".")[:2])
_DTYPE = "dtype" if _VERSION >= (0, 40) else "torch_dtype"
# Pipelines whose models overflow in fp16.
_BFLOAT = ("Flux", "StableDiffusion3")


class DiffusersMember:
    """Draws with a pipeline, at its own number of steps and guidance unless others are given."""

    def __init__(self, member: Member, gallery: Gallery, device: torch.device) -> None:
        options = member.options
        self.pipeline: Any = load_pipeline(options, device)
        if "unet" in options:
            unet = getattr(self.pipeline, "unet", None)
            if unet is None:
                raise GalleryError(
                    f"{options['model']} has no UNet that {options['unet']} could take the place of"
                )
            load_unet(unet, Path(options["unet"]))
        if "lora" in options:
            load_loras(self.pipeline, [(options["lora"], options.get("lora_strength", 1.0))])
        self.pipeline.set_progress_bar_config(disable=True)
        self._settings = _settings(self.pipeline, options, gallery.size)

    def draw(self, prompt: Prompt, seed: int) -> Image.Image:
        return self.draw_several(prompt.text, [seed])[0]

    def draw_several(self, text: str, seeds: Sequence[int]) -> list[Image.Image]:
        """A picture of a prompt for each seed, all in one batch."""
        # Noise is drawn on the CPU, so that a seed means the same picture on every device.
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        settings = dict(self._settings)
        if "negative_prompt" in settings:
            settings["negative_prompt"] = [settings["negative_prompt"]] * len(seeds)
        return self.pipeline(prompt=[text] * len(seeds), generator=generators, **settings).images


def load_pipeline(options: Any, device: torch.device) -> Any:
    """The pipeline of a folder, a name on the hub or a single file, on a device."""
    model = str(options["model"])
    path = Path(model)
    if not path.exists() and not looks_like_a_hub_name(model):
        raise GalleryError(f"there is no model at {model}; give a diffusers folder or a .safetensors file")
    if path.is_file():
        return _single_file(path, options.get("config"), device).to(device)
    kind = _kind(path) if path.is_dir() else _kind_on_the_hub(model)
    dtype = dtype_of(kind, device)
    if kind.startswith(StableDiffusionXLPipeline.__name__) and path.is_dir():
        return load_sdxl(path, dtype=dtype, device=device)
    extra = {"safety_checker": None} if kind == StableDiffusionPipeline.__name__ else {}
    try:
        pipeline: Any = AutoPipelineForText2Image.from_pretrained(model, **{_DTYPE: dtype}, **extra)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # Libraries say in many ways that a file is torn, missing or of another class, some in no common type.
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise GalleryError(f"{model} cannot be loaded as a text-to-image model ({reason})") from error
    return pipeline.to(device)


def check_tunable(base: Member) -> None:
    """`GalleryError` for a base that feedback learning cannot tune: it tunes an SDXL that is on this disk."""
    path = Path(base.options["model"])
    what = "which is not on this disk"
    if path.is_dir():
        kind = _kind(path)
        what = "" if kind.startswith(StableDiffusionXLPipeline.__name__) else f"which is a {kind}"
    elif path.is_file():
        reader = _reader_of(list(open_weights([path])))
        what = "" if reader is None else f"which is a {reader.__name__}"
    if what:
        raise GalleryError(
            f"the base {base.name} is {path}, {what}; feedback learning tunes SDXL: give a diffusers folder "
            "or a .safetensors file of it as the base, others as members beside it"
        )


def dtype_of(kind: str, device: torch.device) -> torch.dtype:
    """The precision in which a pipeline of this class draws on a device."""
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if kind.startswith(_BFLOAT) else torch.float16


def _kind_on_the_hub(name: str) -> str:
    """The pipeline's class of a model on the hub, or kept from there; "" where none is found."""
    try:
        found: Any = DiffusionPipeline.load_config(name)
    except (OSError, ValueError):
        # Loading says what is wrong.
        return ""
    return str(found.get("_class_name", ""))


def _kind(path: Path) -> str:
    """The pipeline's class that a folder names."""
    index = path / "model_index.json"
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        raise GalleryError(
            f"{path} is no diffusers model: it has no model_index.json that can be read; give the folder of "
            "a whole pipeline, or a .safetensors file"
        ) from None


def _single_file(path: Path, config: str | None, device: torch.device) -> Any:
    reader = _reader_of(list(open_weights([path])))
    if reader is None:
        return load_sdxl(path, dtype=dtype_of(StableDiffusionXLPipeline.__name__, device), config=config)
    own = {} if config is None else {"config": config}
    dtype = dtype_of(reader.__name__, device)
    try:
        return reader.from_single_file(str(path), **{_DTYPE: dtype}, **own)
    except (OSError, ValueError, KeyError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise UnsuitableModelError(f"{path.name} cannot be loaded ({reason})") from error


def _reader_of(names: Sequence[str]) -> Any:
    """The pipeline of a single file with tensors of these names; None for SDXL's."""
    return next((reader for key, reader in _SINGLE_FILES if any(key in name for name in names)), None)


def _settings(pipeline: Any, options: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Arguments of the pipeline's call; `GalleryError` for one that it does not take."""
    given = {"steps": "num_inference_steps", "guidance": "guidance_scale", "negative": "negative_prompt"}
    taken = inspect.signature(pipeline.__call__).parameters
    found: dict[str, Any] = {"width": size[0], "height": size[1]}
    for name, argument in given.items():
        if name in options:
            if argument not in taken:
                raise GalleryError(f'{type(pipeline).__name__} takes no "{name}"; leave it out')
            # Flux is guided by a number it was trained with, which knows no negative prompt.
            if name == "negative" and "true_cfg_scale" in taken and taken["true_cfg_scale"].default <= 1:
                raise GalleryError(
                    f'"negative" would change nothing: {type(pipeline).__name__} does not look at a negative '
                    "prompt; leave it out"
                )
            found[argument] = options[name]
    return found
