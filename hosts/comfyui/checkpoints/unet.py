"""The loader of SDXL UNets into ComfyUI: weights are cast one by one while they are read."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.utils
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ....demo import COMPOSITION_LORA
from ....models.finite import is_finite
from ....models.sdxl.architecture import Structure
from ....models.sdxl.files import TIME_FEATURES, UNetFile, open_unet
from ....models.weights import CheckpointError, listing
from ..versions import Patcher
from .text_and_vae import load_text_and_vae
from .unet_files import DEMO, unet_path

logger = logging.getLogger("instance_composer")

DTYPES: dict[str, torch.dtype | None] = {
    "default": None,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


def load_model(name: str, dtype: str = "default", text_and_vae: bool = True) -> tuple[Any, Any, Any]:
    """(MODEL, CLIP, VAE) of an offered name.

    What the folder or file does not have, or was not asked for, is an `ExecutionBlocker`: nodes that need it
    get an error that says so, others run. Raises as `load_unet` and `unet_path`.
    """
    path = unet_path(name)
    model = load_unet(str(path), DTYPES[dtype])
    if name == DEMO:
        model = with_lora(model, path / COMPOSITION_LORA)
    found = load_text_and_vae(path) if text_and_vae else (None, None)
    reason = f"{name} has no {{}}" if text_and_vae else "{} was not loaded, since clip_and_vae is off"
    parts = [
        part if part is not None else ExecutionBlocker(f"{reason.format(kind)}. Load it with another node.")
        for part, kind in zip(found, ("CLIP", "VAE"), strict=True)
    ]
    return model, parts[0], parts[1]


def with_lora(model: Any, file: Path, strength: float = 1.0) -> Any:
    """A clone of MODEL with a LoRA of its UNet, as Load LoRA makes it; `CheckpointError` for one that does
    not fit in a single layer.
    """
    lora = comfy.utils.load_torch_file(str(file), safe_load=True)
    patched = comfy.sd.load_lora_for_models(model, None, lora, strength, 0.0)[0]
    if all(len(found) == len(model.patches.get(key, ())) for key, found in patched.patches.items()):
        raise CheckpointError(f"the LoRA {file.name} has no layer of this model")
    return patched


def load_unet(
    path: str, dtype: torch.dtype | None = None, disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL of a diffusers folder or a single file, SDXL or a smaller model of its plan.

    `dtype` None lets ComfyUI choose for the device. Weights are read and cast one by one, so that memory
    holds the model in `dtype` and little else. `disable_dynamic` is for ComfyUI's own reloading. Raises
    `CheckpointError`, before any large read, for what is not a whole SDXL UNet.
    """
    file = open_unet(Path(path))
    model = empty_model(file, dtype)
    offload_device = comfy.model_management.unet_offload_device()
    patcher = (comfy.model_patcher.ModelPatcher if disable_dynamic else Patcher)(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=offload_device
    )
    if not comfy.model_management.is_device_cpu(offload_device):
        model.to(offload_device)
    _fill(model.diffusion_model, file, model.get_dtype())
    # Newer versions of ComfyUI need a second copy for hooks and several devices, and load it with this call.
    patcher.cached_patcher_init = (load_unet, (path, dtype))
    return patcher


def empty_model(file: UNetFile, dtype: torch.dtype | None) -> Any:
    """ComfyUI's SDXL at these sizes, with what the file predicts, its weights not yet set."""
    headers = list(file.weights.values())
    config = unet_config(file.structure)

    class SDXLOfAnySize(comfy.supported_models.SDXL):
        unet_config = config
        unet_extra_config = {"num_heads": -1, "num_head_channels": file.head_dim}  # noqa: RUF012

    settings = SDXLOfAnySize(config)
    if dtype is None:
        dtype = comfy.model_management.unet_dtype(
            model_params=sum(torch.Size(header.shape).numel() for header in headers),
            supported_dtypes=list(settings.supported_inference_dtypes),
            weight_dtype=headers[0].dtype,
        )
    cast = comfy.model_management.unet_manual_cast(
        dtype, comfy.model_management.get_torch_device(), settings.supported_inference_dtypes
    )
    settings.set_inference_dtype(dtype, cast)
    # Error messages of other nodes show the name of this class.
    SDXLOfAnySize.__name__ = "SDXL"
    # ComfyUI knows what a model predicts by the marks of a single file.
    model = settings.get_model(file.prediction.marks(), "")
    if file.time_features != TIME_FEATURES:
        model.embedder = Timestep(file.time_features)
    return model


def unet_config(structure: Structure) -> dict[str, Any]:
    """The sizes in the words of ComfyUI's UNetModel, those of SDXL where they are not sizes."""
    down, middle, up = structure.depths
    return {
        "use_checkpoint": False,
        "image_size": 32,
        "out_channels": 4,
        "use_spatial_transformer": True,
        "legacy": False,
        "num_classes": "sequential",
        "adm_in_channels": structure.vector,
        "in_channels": structure.in_channels,
        "model_channels": structure.width,
        "num_res_blocks": [2] * len(structure.multipliers),
        "channel_mult": list(structure.multipliers),
        "transformer_depth": list(down),
        "transformer_depth_middle": middle,
        # UNetModel reads this list from its end.
        "transformer_depth_output": list(reversed(up)),
        "use_linear_in_transformer": True,
        "context_dim": structure.context,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }


def _fill(unet: Any, file: UNetFile, dtype: torch.dtype) -> None:
    if _pages_weights():
        # Modules of a paging ComfyUI have no weights until a state dict assigns them.
        state = {name: tensor.to(dtype, copy=True) for name, tensor in _streamed(file)}
        missing, _ = unet.load_state_dict(state, strict=False, assign=True)
        _complain_of_missing(file, missing)
        return
    targets = unet.state_dict()
    _check(file, targets)
    for name, tensor in _streamed(file):
        if name in targets:
            targets[name].copy_(tensor)


def _streamed(file: UNetFile) -> Iterator[tuple[str, Tensor]]:
    bar, damaged = comfy.utils.ProgressBar(len(file.weights)), []
    for name, tensor in file.weights.stream():
        comfy.model_management.throw_exception_if_processing_interrupted()
        damaged += [] if is_finite(tensor) else [name]
        yield name, tensor
        bar.update(1)
    if damaged:
        raise CheckpointError(
            f"{file.name} holds numbers that are not finite in {len(damaged)} weights: "
            f"{listing(damaged, most=5)}. It is damaged, or was written in a precision too small for it."
        )


def _pages_weights() -> bool:
    """Whether this ComfyUI pages weights itself (DynamicVRAM)."""
    # Older versions of ComfyUI have no such module, and newer ones have imported it by now.
    return bool(getattr(sys.modules.get("comfy.memory_management"), "aimdo_enabled", False))


def _check(file: UNetFile, targets: dict[str, Tensor]) -> None:
    _complain_of_missing(file, [name for name in targets if name not in file.weights])
    wrong = [
        f"{name} is {header.shape}, not {tuple(targets[name].shape)}"
        for name, header in file.weights.items()
        if name in targets and header.shape != tuple(targets[name].shape)
    ]
    if wrong:
        raise CheckpointError(f"The weights of {file.name} do not fit together: {listing(wrong)}.")
    unknown = [name for name in file.weights if name not in targets]
    if unknown:
        logger.warning("%s: %d weights are not used: %s", file.name, len(unknown), listing(unknown))


def _complain_of_missing(file: UNetFile, missing: list[str]) -> None:
    if missing:
        raise CheckpointError(
            f"{file.name} is incomplete: {len(missing)} weights of the UNet are missing: {listing(missing)}."
        )
