"""The layout document: what goes where. Standard library only."""

from .box import Box
from .document import Layout
from .instance import Canvas, Instance
from .mask import Mask, Polygon, RunLength
from .problems import FormatError, LayoutError, Problem

__all__ = [
    "Box",
    "Canvas",
    "FormatError",
    "Instance",
    "Layout",
    "LayoutError",
    "Mask",
    "Polygon",
    "Problem",
    "RunLength",
]
