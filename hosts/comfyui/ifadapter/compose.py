"""A layout as everything a sampler asks for: placed MODEL, prompts encoded, an empty latent of its size."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.model_management
import torch

from ....layout import Layout
from ....models.entities.naming import join_captions
from .apply import apply_ifadapter

LATENT_CELL = 8  # pixels of a side that one cell of SDXL's latent stands for

logger = logging.getLogger("instance_composer")


def compose(
    model: Any,
    clip: Any,
    adapter: Any,
    layout: Layout,
    prompt: str = "",
    *,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    batch_size: int = 1,
    tell: Callable[[str], None] = logger.info,
) -> tuple[Any, list[Any], list[Any], dict[str, Any]]:
    """MODEL, positive, negative and LATENT that draw a layout.

    `prompt`: of the whole picture; blank is the layout's own with the captions that it does not name, as
    Instance Layout gives it out. The negative is the layout's, and where that is
    blank the prompt zeroed out, as the adapter was published (see `apply_ifadapter`, also for `tell`).
    """
    positive = _encode(clip, prompt if prompt.strip() else join_captions(layout))
    negative = _encode(clip, layout.negative) if layout.negative.strip() else _zeroed(positive)
    placed = apply_ifadapter(
        model, clip, adapter, layout, positive, negative, strength, start, end, tell=tell
    )
    return *placed, _empty_latent(model, layout, batch_size)


def _encode(clip: Any, text: str) -> list[Any]:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def _zeroed(conditioning: list[Any]) -> list[Any]:
    def zero(value: Any) -> Any:
        return torch.zeros_like(value) if isinstance(value, torch.Tensor) else value

    return [
        [zero(states), {**values, "pooled_output": zero(values.get("pooled_output"))}]
        for states, values in conditioning
    ]


def _empty_latent(model: Any, layout: Layout, batch_size: int) -> dict[str, Any]:
    channels = model.get_model_object("latent_format").latent_channels
    height, width = (side // LATENT_CELL for side in (layout.canvas.height, layout.canvas.width))
    device = comfy.model_management.intermediate_device()
    return {"samples": torch.zeros(batch_size, channels, height, width, device=device)}
