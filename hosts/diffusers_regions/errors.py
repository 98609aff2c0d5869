"""What regions cannot be drawn with, on diffusers' transformers."""

from __future__ import annotations


class UnsuitableModelError(ValueError):
    """A model, or a way of calling it, that regions cannot be drawn with."""
