"""Tiny MODELs with quantised matrices: in ComfyUI's own formats, and marked as those of the GGUF pack."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

import comfy.supported_models
import comfy.utils
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep
from tiny_comfyui import CPU, Patcher, head_dim, tiny_unet_config
from tiny_sdxl import UNET
from torch import Tensor

PREFIX = "diffusion_model."
FIXED = ("label_emb", "time_embed")


def quantised_model(model: Any, kind: str) -> Any:
    """A MODEL with the weights of another one, matrices in "float8_e4m3fn" or "int8_tensorwise"."""
    state: dict[str, Tensor] = {}
    for key, value in model.model_state_dict(PREFIX).items():
        key = key.removeprefix(PREFIX)
        if not is_quantised(key, value):
            state[key] = value.clone()
            continue
        layer = key.removesuffix(".weight")
        state[key], state[f"{layer}.weight_scale"] = quantise(value, kind)
        mark = json.dumps({"format": kind}).encode()
        state[f"{layer}.comfy_quant"] = torch.tensor(list(mark), dtype=torch.uint8)
    config = tiny_unet_config(UNET)

    class Tiny(comfy.supported_models.SDXL):
        unet_config = config
        unet_extra_config = {"num_heads": -1, "num_head_channels": head_dim(UNET)}  # noqa: RUF012

    settings = Tiny(config)
    settings.set_inference_dtype(torch.float32, None)
    settings.quant_config = comfy.utils.detect_layer_quantization(state, "")
    made = settings.get_model({}, "", CPU)
    made.embedder = Timestep(UNET["addition_time_embed_dim"])
    made.load_model_weights(state, "")
    return Patcher(made, load_device=CPU, offload_device=CPU)


def quantise(value: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """A weight as it is stored, and its scale."""
    if kind == "int8_tensorwise":
        scale = value.abs().max() / 127
        return (value / scale).round().to(torch.int8), scale.float()
    scale = value.abs().max() / torch.finfo(getattr(torch, kind)).max
    return (value / scale).to(getattr(torch, kind)), scale.float()


def restored(value: Tensor, kind: str) -> Tensor:
    """The numbers a quantised weight stands for."""
    stored, scale = quantise(value, kind)
    return stored.float() * scale


def is_quantised(key: str, value: Tensor) -> bool:
    """Whether `quantised_model` quantises a weight."""
    return value.ndim == 2 and key.endswith(".weight") and not key.startswith(FIXED)


class Types(IntEnum):
    """Two of the types of GGUF, as its Python package numbers them."""

    F16 = 1
    Q8_0 = 8


class PackTensor(Tensor):
    """A tensor with what the GGUF pack's tensors carry: bytes, their type, and the shape of the numbers."""

    tensor_type: Types
    tensor_shape: torch.Size

    @property
    def shape(self) -> torch.Size:
        return self.tensor_shape

    def detach(self) -> Tensor:
        return self


def mark_as_gguf(model: Any) -> Any:
    """Give the matrices of a MODEL the form of Q8_0: 34 bytes for 32 numbers, whatever the numbers were."""
    for name, value in list(model.model.diffusion_model.named_parameters()):
        if not is_quantised(name, value) or value.shape[1] % 32:
            continue
        raw = torch.zeros(value.shape[0], value.shape[1] // 32 * 34, dtype=torch.uint8)
        packed = raw.as_subclass(PackTensor)
        packed.tensor_type, packed.tensor_shape = Types.Q8_0, value.shape
        module = model.model.diffusion_model.get_submodule(name.rpartition(".")[0])
        module.weight = torch.nn.Parameter(packed, requires_grad=False)
    return model
