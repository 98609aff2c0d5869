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
from .shared import (
    Place,
    caption_and_extra,
    exported,
    grid_box,
    metadata_of,
    numbered,
    parsed,
    require_canvas,
    require_list,
    require_number,
    require_object,
    require_text,
)

_SIDES = ("x", "y", "width", "height")


def recognises(data: Any) -> bool:
    while isinstance(data, list) and data:
        data = data[0]
    return data == [] or (isinstance(data, dict) and all(side in data for side in _SIDES))


def read(source: Any, *, canvas: Canvas | None = None, frame: int | None = None) -> Layout:
    """Boxes as text or values, in pixels of `canvas`. Of several frames, `frame` (from 0) chooses one."""
    canvas = require_canvas(canvas, "bounding boxes")
    boxes = _boxes(parsed(source), frame)
    regions = (
        _region(box, Place(f"box {number}", path), canvas) for number, (box, path) in enumerate(boxes, 1)
    )
    return Layout(numbered(regions), canvas)


def _boxes(data: Any, frame: int | None) -> list[tuple[Any, Path]]:
    """The boxes of the picture that is meant, each with the path to it."""
    if isinstance(data, dict):
        return [(data, ())]
    boxes = require_list(data, Place("bounding boxes"))
    if not boxes or not isinstance(boxes[0], (list, tuple)):
        return [(box, (index,)) for index, box in enumerate(boxes)]
    if frame is None and len(boxes) > 1:
        raise fault("choose_frame", count=len(boxes), last=len(boxes) - 1)
    frame = frame or 0
    if not 0 <= frame < len(boxes):
        raise fault("no_frame", frame=frame, last=len(boxes) - 1)
    chosen = require_list(boxes[frame], Place(f"frame {frame}", (frame,)))
    return [(box, (frame, index)) for index, box in enumerate(chosen)]


def _region(value: Any, where: Place, canvas: Canvas) -> tuple[Box, str, str | None, Mapping[str, Any]]:
    value = require_object(value, where)
    if missing := [side for side in _SIDES if side not in value]:
        raise fault("lacks", where.path, where=where.words, names=", ".join(missing), value=quote(value))
    pixels = [require_number(value[side], where.key(side)) for side in _SIDES]
    metadata = require_object(value.get("metadata") or {}, where.key("metadata"))
    caption, color, extra = caption_and_extra(
        metadata, "palette", Place(where.words, (*where.path, "metadata"))
    )
    if not caption and "label" in value:
        caption = require_text(value["label"], where.key("label"))
    return Box.from_pixels(pixels, canvas.width, canvas.height), caption, color, extra


def write(layout: Layout) -> list[dict[str, Any]]:
    """One box with metadata per enabled instance, whole pixels; masks, negatives and strengths are lost."""
    boxes = []
    for item in exported(layout):
        left, top, right, bottom = grid_box(item.bounds, layout.canvas.width, layout.canvas.height)
        sides = dict(zip(_SIDES, (left, top, right - left, bottom - top), strict=True))
        boxes.append({**sides, "metadata": metadata_of(item)})
    return boxes
