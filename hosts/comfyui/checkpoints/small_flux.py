"""A small Flux.1 of a diffusers folder as ComfyUI's own MODEL, and its texts.

ComfyUI tells the number of a Flux's heads by its width, as the published one has them, so a smaller one, as
the demo transformer is, cannot come through its loaders: its class is built here with the sizes of the
folder's own configuration. Names of weights are translated by ComfyUI.
"""

from __future__ import annotations

import json
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.ldm.flux.model
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sdxl_clip
import comfy.supported_models
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from ....models.errors import sizes_read_from
from ....models.weights import CheckpointError, listing, read_tensors
from ..versions import Patcher
from .small_sdxl import load_clip

_PATCH = 2
# CLIP's end of text.
_END = 49407
_WEIGHTS = "diffusion_pytorch_model.safetensors"


class UnpaddedTexts(comfy.sdxl_clip.SDXLClipModel):
    """SDXL's two text encoders without padding behind the text: a Flux attends to every token it is given."""

    def encode_token_weights(self, token_weight_pairs: dict[str, Any]) -> Any:
        """As SDXL's; ComfyUI's encoders themselves read nothing but whole chunks."""
        states, *others = super().encode_token_weights(token_weight_pairs)
        padding = min(_padding(chunks[-1]) for chunks in token_weight_pairs.values())
        return (states[:, : states.shape[1] - padding], *others)


def _padding(chunk: list[tuple[Any, ...]]) -> int:
    """Tokens behind the end of the text."""
    ends = (place for place, (token, *_) in enumerate(chunk) if isinstance(token, int) and token == _END)
    return len(chunk) - 1 - next(ends, len(chunk) - 1)


def load_unpadded_clip(folder: str | PathLike[str], **paging: bool) -> Any:
    """The CLIP of a diffusers SDXL folder as `load_clip` makes it, for a transformer that reads its texts."""
    return load_clip(folder, UnpaddedTexts, **paging)


def no_ifadapter() -> ExecutionBlocker:
    """What stands where a transformer has no IFAdapter: a node that needs one is not run, and says this."""
    return ExecutionBlocker(
        "The demo transformer has no IFAdapter. Choose the demo model, or draw the layout with Draw Regions."
    )


def load_transformer(
    folder: str | PathLike[str], dtype: torch.dtype | None = None, disable_dynamic: bool = False
) -> Any:
    """The MODEL of a folder with transformer/ and scheduler/ of diffusers, on latents of SDXL's format.

    `dtype` None lets ComfyUI choose for the device. `disable_dynamic` is for ComfyUI's own reloading. Raises
    `CheckpointError` for what is not a whole Flux.1 of its configuration.
    """
    place = Path(folder)
    sizes = _sizes(place)
    weights = read_tensors(place / "transformer" / _WEIGHTS)
    converted = comfy.model_detection.convert_diffusers_mmdit(dict(weights)) or {}
    if "img_in.weight" not in converted:
        raise CheckpointError(f"{place.name}/transformer/{_WEIGHTS} is no Flux.1 as diffusers writes it.")
    model = _empty_model(sizes, _shift(place), converted, dtype)
    offload = comfy.model_management.unet_offload_device()
    patcher = (comfy.model_patcher.ModelPatcher if disable_dynamic else Patcher)(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )
    _fill(model, {name: value.to(model.get_dtype()) for name, value in converted.items()}, place.name)
    if not comfy.model_management.is_device_cpu(offload):
        model.to(offload)
    # Newer versions of ComfyUI need a second copy for hooks and several devices, and load it with this call.
    patcher.cached_patcher_init = (load_transformer, (folder, dtype))
    return patcher


def _sizes(folder: Path) -> dict[str, Any]:
    """The configuration of diffusers in the words of ComfyUI's Flux."""
    with sizes_read_from("transformer/config.json", "a Flux.1"):
        config = json.loads((folder / "transformer" / "config.json").read_text(encoding="utf-8"))
        heads, width = config["num_attention_heads"], config["attention_head_dim"]
        return {
            "image_model": "flux",
            "in_channels": config["in_channels"] // _PATCH**2,
            "out_channels": (config["out_channels"] or config["in_channels"]) // _PATCH**2,
            "vec_in_dim": config["pooled_projection_dim"],
            "context_in_dim": config["joint_attention_dim"],
            "hidden_size": heads * width,
            "mlp_ratio": 4.0,
            "num_heads": heads,
            "depth": config["num_layers"],
            "depth_single_blocks": config["num_single_layers"],
            "axes_dim": list(config["axes_dims_rope"]),
            "theta": 10000,
            "patch_size": _PATCH,
            "qkv_bias": True,
            "guidance_embed": config["guidance_embeds"],
            "txt_ids_dims": [],
        }


def _shift(folder: Path) -> float:
    """How far sampling steps are moved towards noise."""
    with sizes_read_from("scheduler/scheduler_config.json", "a scheduler of flow matching"):
        return float(json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))["shift"])


def _empty_model(
    sizes: dict[str, Any], shift: float, weights: dict[str, torch.Tensor], dtype: torch.dtype | None
) -> Any:
    known = {field.name for field in fields(comfy.ldm.flux.model.FluxParams)} | {"image_model"}
    # Versions differ in how much of a Flux can be told.
    config = {name: value for name, value in sizes.items() if name in known}

    class FluxOfAnySize(comfy.supported_models.FluxSchnell):
        unet_config = config
        latent_format = comfy.latent_formats.SDXL
        sampling_settings = {"multiplier": 1.0, "shift": shift}  # noqa: RUF012

    settings = FluxOfAnySize(config)
    if dtype is None:
        dtype = comfy.model_management.unet_dtype(
            model_params=sum(value.numel() for value in weights.values()),
            supported_dtypes=list(settings.supported_inference_dtypes),
            weight_dtype=weights["img_in.weight"].dtype,
        )
    cast = comfy.model_management.unet_manual_cast(
        dtype, comfy.model_management.get_torch_device(), settings.supported_inference_dtypes
    )
    settings.set_inference_dtype(dtype, cast)
    # Error messages of other nodes show the name of this class.
    FluxOfAnySize.__name__ = "FluxSchnell"
    return settings.get_model({}, "")


def _fill(model: Any, weights: dict[str, torch.Tensor], name: str) -> None:
    try:
        found = model.model_config.process_unet_state_dict(weights)
        # Modules of a ComfyUI that pages weights have none until they are assigned.
        missing, unknown = model.diffusion_model.load_state_dict(found, strict=False, assign=True)
    except RuntimeError as error:
        reason = next((line.strip() for line in str(error).splitlines() if "size mismatch" in line), None)
        if reason is None:
            raise
        raise CheckpointError(
            f"The weights of {name}/transformer do not fit its config.json: {reason}"
        ) from error
    if missing or unknown:
        wrong = [*(f"{one} is missing" for one in missing), *(f"{one} is not known" for one in unknown)]
        raise CheckpointError(
            f"The weights of {name}/transformer do not fit its config.json: {listing(wrong)}"
        )
