"""Keys and values of a prompt, projected once a run instead of at every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from .layer_hooks import is_compiled

# More is not kept: for SDXL in halves a guided picture takes 51 MB.
MOST_BYTES = 256 << 20


@contextmanager
def keeping_text(unet: UNet2DConditionModel) -> Iterator[None]:
    """Inside the `with` block a cross-attention projects the same text once; no bit of a result changes.

    The text is the same where it is the very tensor of the call before, which pipelines pass at every step.
    Hooks and LoRAs on the projections take part as ever, but weights and LoRAs must not change inside the
    block. A compiled UNet and calls with gradients compute as they would without it.
    """
    budget = _Budget(MOST_BYTES)
    with ExitStack() as kept:
        if not is_compiled(unet):
            for name in unet.attn_processors:
                if name.endswith(".attn2.processor"):
                    attention: Any = unet.get_submodule(name.removesuffix(".processor"))
                    for projection in (attention.to_k, attention.to_v):
                        kept.enter_context(_keeping(projection, budget))
        yield


class _Budget:
    """Bytes that may still be kept."""

    def __init__(self, left: int) -> None:
        self.left = left


class _Kept:
    """The last text that a projection was given, and what it made of it."""

    def __init__(self, forward: Any, budget: _Budget) -> None:
        self.forward, self.budget = forward, budget
        self.text: Tensor | None = None
        self.version: int | None = None
        self.made: Tensor | None = None

    def __call__(self, text: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if torch.is_grad_enabled():
            return self.forward(text, *args, **kwargs)
        # Tensors of the inference mode do not count how often they were written to.
        version = None if text.is_inference() else text._version
        if self.made is not None and text is self.text and version == self.version:
            return self.made
        if self.made is not None:
            self.budget.left += self.made.nbytes
            self.text = self.made = None
        made = self.forward(text, *args, **kwargs)
        if made.nbytes <= self.budget.left:
            self.budget.left -= made.nbytes
            self.text, self.version, self.made = text, version, made
        return made


@contextmanager
def _keeping(projection: Any, budget: _Budget) -> Iterator[None]:
    # Offloading puts a `forward` of its own there too.
    own = projection.__dict__.get("forward")
    projection.forward = _Kept(projection.forward, budget)
    try:
        yield
    finally:
        if own is None:
            del projection.forward
        else:
            projection.forward = own
