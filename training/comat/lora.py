"""A LoRA on a UNet's attention in training: put on, switched off for a while, read off."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from ...models.comat.lora import LowRank, attention_targets

_NAME = "default"


def add_lora(unet: Any, rank: int, start: Mapping[str, LowRank] | None = None) -> None:
    """Put a LoRA on every attention projection of a frozen UNet, in float32.

    Fresh, or with the matrices of `start`; fresh ones are normal with deviation 1 / rank (down) and 0 (up),
    drawn from the global random generator, and added with factor 1.
    """
    unet.requires_grad_(False)
    targets = attention_targets(unet)
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets), _NAME
    )
    with torch.no_grad():
        for name in targets if start else ():
            layer = unet.get_submodule(name)
            layer.lora_A[_NAME].weight.copy_(start[name].down)  # type: ignore[index]
            layer.lora_B[_NAME].weight.copy_(start[name].up)  # type: ignore[index]
    for name, parameter in unet.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()


def lora_layers(unet: Any) -> dict[str, LowRank]:
    """The matrices of a UNet's LoRA by layer, as they are now."""
    layers: dict[str, Any] = {
        name: module for name, module in unet.named_modules() if isinstance(module, BaseTunerLayer)
    }
    return {
        name: LowRank(layer.lora_A[_NAME].weight.detach(), layer.lora_B[_NAME].weight.detach())
        for name, layer in layers.items()
    }


@contextmanager
def without_lora(unet: Any) -> Iterator[None]:
    """Inside the block the UNet is the original one."""
    layers: list[Any] = [module for module in unet.modules() if isinstance(module, BaseTunerLayer)]
    # Switching a LoRA also changes what requires a gradient, which is the training loop's to say.
    required = [(parameter, parameter.requires_grad) for parameter in unet.parameters()]
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(enabled=True)
        for parameter, requires in required:
            parameter.requires_grad_(requires)


def share_weights(unet: nn.Module) -> Any:
    """The same UNet once more, of the same tensors: what is added to one is not in the other."""
    tensors = [*unet.parameters(), *unet.buffers()]
    return copy.deepcopy(unet, {id(tensor): tensor for tensor in tensors})
