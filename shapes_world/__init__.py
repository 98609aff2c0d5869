"""Shapes World: a small world of coloured, patterned shapes in which every claim can be measured."""

from .captions import (
    CaptionError,
    Phrase,
    caption,
    describe,
    join,
    parse,
    parse_figure,
)
from .painting import Painting, paint
from .scenes import Figure, Scene, draw_scene
from .vocabulary import (
    BACKGROUNDS,
    COLORS,
    HELD_OUT,
    LOOKS,
    PATTERNS,
    SHAPES,
    Look,
    Split,
    looks,
)
from .world import (
    Sample,
    ShapesWorld,
    make_sample,
    mask_box,
)

__all__ = [
    "BACKGROUNDS",
    "COLORS",
    "HELD_OUT",
    "LOOKS",
    "PATTERNS",
    "SHAPES",
    "CaptionError",
    "Figure",
    "Look",
    "Painting",
    "Phrase",
    "Sample",
    "Scene",
    "ShapesWorld",
    "Split",
    "caption",
    "describe",
    "draw_scene",
    "join",
    "looks",
    "make_sample",
    "mask_box",
    "paint",
    "parse",
    "parse_figure",
]
