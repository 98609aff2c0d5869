"""Regions of a layout on diffusers' transformers that read text and picture in one sequence."""

from .drawing import draw_regions
from .errors import UnsuitableModelError

__all__ = ["UnsuitableModelError", "draw_regions"]
