"""Shapes World: a small world of coloured, patterned shapes in which every claim can be measured."""

from .captions import (
    CaptionError,
    Phrase,
    Related,
    caption,
    contradict,
    describe,
    join,
    parse,
    parse_figure,
    parse_related,
    unrelate,
)
from .painting import Painting, paint
from .relations import RELATIONS
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
    Weights,
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
    "RELATIONS",
    "SHAPES",
    "CaptionError",
    "Figure",
    "Look",
    "Painting",
    "Phrase",
    "Related",
    "Sample",
    "Scene",
    "ShapesWorld",
    "Split",
    "Weights",
    "caption",
    "contradict",
    "describe",
    "draw_scene",
    "join",
    "looks",
    "make_sample",
    "mask_box",
    "paint",
    "parse",
    "parse_figure",
    "parse_related",
    "unrelate",
]
