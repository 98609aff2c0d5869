"""The training precision: frozen weights in halves, and sampling with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import nn

# By the names of the setting mixed_precision.
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}


def halve(precision: torch.dtype | None, *modules: nn.Module | None) -> None:
    """Keep the weights of modules that are only read in the training precision, if it is a half one.

    Autocast would halve them at every call, and they take half the memory. Not for an autoencoder, whose
    decoder overflows in halves, nor for what is trained, whose steps are smaller than halves tell apart.
    """
    if precision is None:
        return
    for module in modules:
        for parameter in () if module is None else module.parameters():
            parameter.data = parameter.data.to(precision)


@contextmanager
def sampling_in(precision: torch.dtype | None, pipeline: Any) -> Iterator[None]:
    """Inside the block a pipeline with halved parts samples, and decodes its latents in float32."""
    if precision is None:
        yield
        return
    vae: Any = pipeline.vae
    decode: Callable[..., Any] = vae.decode

    def whole(latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(latents.device.type, enabled=False):
            return decode(latents.float(), *args, **kwargs)

    vae.decode = whole
    try:
        with torch.autocast(vae.device.type, dtype=precision):
            yield
    finally:
        del vae.decode
        # Halves of averaged weights, made without gradients, are of no use to the next step.
        torch.clear_autocast_cache()


def forget_precision() -> None:
    """Let the next run of this process have a precision of its own; how processes talk stays as it is."""
    # Accelerate keeps one for a whole process, and a command may train several models one after the other.
    if AcceleratorState._shared_state:  # pyright: ignore[reportPrivateUsage]
        AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage]
