"""Parts of the picture that are sampled by themselves, which know nothing of where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Entry of transformer_options in which ComfyUI's context windows name the one that is sampled.
CONTEXT_WINDOW = "context_window"

PART_SAMPLED = (
    "Regions and words have their places in the whole picture, but a part of it is being sampled by itself: "
    "context windows over its height or width, or another pack's tiles. Every part gets the whole layout. "
    "Take those off if that is not meant."
)


def is_part(model_options: Mapping[str, Any], latent: Tensor) -> bool:
    """Whether a latent (B, C, …, h, w) is one of ComfyUI's context windows over height or width."""
    window = model_options.get("transformer_options", {}).get(CONTEXT_WINDOW)
    dimension = getattr(window, "dim", None)
    return isinstance(dimension, int) and dimension >= latent.ndim - 2
