"""InstanceDiffusion's input: "annos" with a box in pixels and a caption each. Read only."""

from __future__ import annotations

from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ..found_json import parsed
from ..notes import note, warn
from ..segmentation import read_segmentation
from ..shared import (
    Place,
    canvas_of,
    given,
    kind_of,
    require_canvas,
    require_list,
    require_numbers,
    require_object,
    require_text,
    shaped,
    warn_of_numbers,
)

_MASKS = ("mask", "segmentation")
_NOT_READ = ("point", "points", "scribble")


def recognises(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("annos"), list)


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Boxes as left, top, width, height in pixels of the size that is told, and masks; points are lost.

    The caption of an instance is its "caption", else its "category_name"; the prompt is the file's "caption".
    """
    data = require_object(parsed(source), Place("an InstanceDiffusion file"))
    if data.get("width") is not None and data.get("height") is not None:
        canvas = canvas_of(data["width"], data["height"], Place("the size of the image"))
    canvas = require_canvas(canvas, "the boxes")
    note("pixel", "xywh")
    unnamed: set[str] = set()
    contents = []
    items = require_list(data.get("annos"), Place("annos", ("annos",)))
    for index, item in enumerate(items):
        where = Place(f"annotation {index + 1}", ("annos", index))
        item = require_object(item, where)
        pixels = require_numbers(item.get("bbox"), 4, where.key("bbox"))
        name = next((name for name in ("caption", "category_name") if item.get(name)), "caption")
        caption = require_text(given(item, name), where.key(name)) or kind_of(item, unnamed)
        name = next((name for name in _MASKS if item.get(name)), _MASKS[0])
        mask = read_segmentation(item.get(name), canvas, where.key(name), len(items))
        contents.append((Box.from_pixels(pixels, canvas.width, canvas.height), caption, mask))
    warn_of_numbers(unnamed)
    for key in _NOT_READ:
        if count := sum(bool(item.get(key)) for item in items if isinstance(item, dict)):
            warn("key_not_read", ("annos",), key=key, count=count)
    prompt = require_text(given(data, "caption"), Place("caption", ("caption",)))
    return Layout(shaped(contents), canvas, prompt)
