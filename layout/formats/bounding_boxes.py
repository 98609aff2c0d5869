"""ComfyUI's own BOUNDING_BOX and BOUNDING_BOXES (comfy_api latest/_io.py, Create Bounding Boxes).

A box is {"x", "y", "width", "height"} in pixels, with "metadata" {"type", "text", "desc", "palette"} or, from
detectors, "label" and "score". One box, a list of boxes, or one list per picture of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas
from ..messages import quote
from ..problems import Path, fault
from .found_json import parsed
from .notes import note
from .shared import (
    Place,
    caption_and_extra,
    exported,
    grid_box,
    kind_of,
    metadata_of,
    numbered,
    require_canvas,
    require_list,
    require_number,
    require_object,
    require_text,
    warn_of_numbers,
)

_SIDES = ("x", "y", "width", "height")
_OWN = {*_SIDES, "metadata", "label", "score"}
# Where a caption stands in boxes of others that are read as these because the user says so.
_NAMES = ("label", "caption", "description", "text", "name")


def recognises(data: Any) -> bool:
    """Whether boxes have ComfyUI's metadata, or nothing but sides in pixels, a detector's label and score."""
    while isinstance(data, list) and data and isinstance(data[0], list):
        data = next((frame for frame in data if frame != []), [])
    boxes = [data] if isinstance(data, dict) else data
    if not isinstance(boxes, list):
        return False
    return boxes == [] or (_has_sides(boxes[0]) and ("metadata" in boxes[0] or _bare(boxes)))


def _has_sides(box: Any) -> bool:
    return isinstance(box, dict) and all(side in box for side in _SIDES)


def _bare(boxes: list[Any]) -> bool:
    """Whether no key is another program's, and the sides are not fractions, which pixels cannot be."""
    if not all(isinstance(box, dict) and set(box) <= _OWN for box in boxes):
        return False
    sides = [box.get(side) for box in boxes for side in _SIDES]
    return not all(isinstance(side, (int, float)) and abs(side) <= 1 for side in sides)


def read(source: Any, *, canvas: Canvas | None = None, frame: int | None = None) -> Layout:
    """Boxes as text or values, in pixels of `canvas`. Of several frames, `frame` (from 0) chooses one."""
    canvas = require_canvas(canvas, "bounding boxes")
    boxes = _boxes(parsed(source), frame)
    note("pixel", "xywh")
    unnamed: set[str] = set()
    regions = [
        _region(box, Place(f"box {number}", path), canvas, unnamed)
        for number, (box, path) in enumerate(boxes, 1)
    ]
    warn_of_numbers(unnamed)
    return Layout(numbered(regions), canvas)


def _boxes(data: Any, frame: int | None) -> list[tuple[Any, Path]]:
    """The boxes of the picture that is meant, each with the path to it."""
    if isinstance(data, dict):
        return [(data, ())]
    boxes = require_list(data, Place("bounding boxes"))
    if not boxes or not isinstance(boxes[0], (list, tuple)):
        if frame:
            raise fault("no_frame", frame=frame, last=0)
        return [(box, (index,)) for index, box in enumerate(boxes)]
    if frame is None and len(boxes) > 1:
        raise fault("choose_frame", count=len(boxes), last=len(boxes) - 1)
    frame = frame or 0
    if not 0 <= frame < len(boxes):
        raise fault("no_frame", frame=frame, last=len(boxes) - 1)
    chosen = require_list(boxes[frame], Place(f"frame {frame}", (frame,)))
    return [(box, (frame, index)) for index, box in enumerate(chosen)]


def _region(
    value: Any, where: Place, canvas: Canvas, unnamed: set[str]
) -> tuple[Box, str, str | None, Mapping[str, Any]]:
    value = require_object(value, where)
    if missing := [side for side in _SIDES if side not in value]:
        raise fault("lacks", where.path, where=where.words, names=", ".join(missing), value=quote(value))
    pixels = [require_number(value[side], where.key(side)) for side in _SIDES]
    metadata = require_object(value.get("metadata") or {}, where.key("metadata"))
    caption, color, extra = caption_and_extra(
        metadata, "palette", Place(where.words, (*where.path, "metadata"))
    )
    name = next((name for name in _NAMES if value.get(name) not in (None, "")), "label")
    if not caption and name in value:
        caption = require_text(value[name], where.key(name))
    caption = caption or kind_of(value, unnamed)
    return Box.from_pixels(pixels, canvas.width, canvas.height), caption, color, extra


def write(layout: Layout) -> list[dict[str, Any]]:
    """One box with metadata per enabled instance, whole pixels; masks, negatives and strengths are lost."""
    boxes = []
    for item in exported(layout):
        left, top, right, bottom = grid_box(item.bounds, layout.canvas.width, layout.canvas.height)
        sides = dict(zip(_SIDES, (left, top, right - left, bottom - top), strict=True))
        boxes.append({**sides, "metadata": metadata_of(item)})
    return boxes
