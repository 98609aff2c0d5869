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
from ..problems import LayoutError, quote
from .shared import (
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
    boxes = _frame(parsed(source), frame)
    return Layout(numbered(_region(box, number, canvas) for number, box in enumerate(boxes, 1)), canvas)


def _frame(data: Any, frame: int | None) -> list[Any]:
    if isinstance(data, dict):
        return [data]
    boxes = require_list(data, "bounding boxes")
    if not boxes or not isinstance(boxes[0], (list, tuple)):
        return boxes
    if frame is None and len(boxes) > 1:
        raise LayoutError(
            f"there are boxes for {len(boxes)} pictures; choose a frame from 0 to {len(boxes) - 1}"
        )
    frame = frame or 0
    if not 0 <= frame < len(boxes):
        raise LayoutError(f"frame {frame} does not exist; 0 to {len(boxes) - 1} do")
    return require_list(boxes[frame], f"frame {frame}")


def _region(value: Any, number: int, canvas: Canvas) -> tuple[Box, str, str | None, Mapping[str, Any]]:
    where = f"box {number}"
    value = require_object(value, where)
    if missing := [side for side in _SIDES if side not in value]:
        raise LayoutError(f"{where} lacks {', '.join(missing)}, got {quote(value)}")
    pixels = [require_number(value[side], f"{where}: {side}") for side in _SIDES]
    metadata = require_object(value.get("metadata") or {}, f"{where}: metadata")
    caption, color, extra = caption_and_extra(metadata, metadata.get("palette"), where)
    if not caption and "label" in value:
        caption = require_text(value["label"], f"{where}: label")
    return Box.from_pixels(pixels, canvas.width, canvas.height), caption, color, extra


def write(layout: Layout) -> list[dict[str, Any]]:
    """One box with metadata per enabled instance, whole pixels; masks, negatives and strengths are lost."""
    boxes = []
    for item in exported(layout):
        left, top, right, bottom = grid_box(item.bounds, layout.canvas.width, layout.canvas.height)
        sides = dict(zip(_SIDES, (left, top, right - left, bottom - top), strict=True))
        boxes.append({**sides, "metadata": metadata_of(item)})
    return boxes
