"""A member that is any text-to-image model of diffusers."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoPipelineForText2Image,
    FluxPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from ...hosts.diffusers_sdxl import UnsuitableModelError, load_loras, load_sdxl
from ...models.weights import open_weights
from ...rankings.errors import GalleryError
from ...rankings.gallery import Gallery, Member, Prompt
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
        return self.pipeline(prompt=[text] * len(seeds), generator=generators, **self._settings).images


def load_pipeline(options: Any, device: torch.device) -> Any:
    """The pipeline of a folder, a name on the hub or a single file, on a device."""
    model = str(options["model"])
    path = Path(model)
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    if not path.exists() and not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise GalleryError(f"there is no model at {model}; give a diffusers folder or a .safetensors file")
    if path.is_file():
        return _single_file(path, options.get("config"), dtype).to(device)
    kind = _kind(path)
    if kind.startswith(StableDiffusionXLPipeline.__name__) and path.is_dir():
        return load_sdxl(path, dtype=dtype, device=device)
    if dtype == torch.float16 and kind.startswith(_BFLOAT):
        dtype = torch.bfloat16
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


def _kind(path: Path) -> str:
    """The pipeline's class that a folder names; "" for a name on the hub."""
    if not path.is_dir():
        return ""
    index = path / "model_index.json"
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        raise GalleryError(
            f"{path} is no diffusers model: it has no model_index.json that can be read; give the folder of "
            "a whole pipeline, or a .safetensors file"
        ) from None


def _single_file(path: Path, config: str | None, dtype: torch.dtype) -> Any:
    names = list(open_weights([path]))
    for key, reader in _SINGLE_FILES:
        if any(key in name for name in names):
            own = {} if config is None else {"config": config}
            try:
                return reader.from_single_file(str(path), **{_DTYPE: dtype}, **own)
            except (OSError, ValueError, KeyError) as error:
                reason = next((line for line in str(error).splitlines() if line.strip()), "")
                raise UnsuitableModelError(f"{path.name} cannot be loaded ({reason})") from error
    return load_sdxl(path, dtype=dtype, config=config)


def _settings(pipeline: Any, options: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Arguments of the pipeline's call; `GalleryError` for one that it does not take."""
    given = {"steps": "num_inference_steps", "guidance": "guidance_scale", "negative": "negative_prompt"}
    taken = inspect.signature(pipeline.__call__).parameters
    found: dict[str, Any] = {"width": size[0], "height": size[1]}
    for name, argument in given.items():
        if name in options:
            if argument not in taken:
                raise GalleryError(f'{type(pipeline).__name__} takes no "{name}"; leave it out')
            found[argument] = options[name]
    return found
