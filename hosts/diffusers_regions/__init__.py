"""Regions of a layout on diffusers' transformers that read text and picture in one sequence."""

from .drawing import UnsuitableModelError, draw_regions

__all__ = ["UnsuitableModelError", "draw_regions"]
