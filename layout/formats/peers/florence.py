"""Florence-2's detections: lists of boxes and labels in pixels, or its own tokens on a grid. Read only."""

from __future__ import annotations

import re
from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...json_text import decode
from ...messages import quote
from ...problems import Path, fault, text_fault
from ..found_json import parsed
from ..notes import note, warn
from ..shared import (
    Place,
    numbered,
    require_canvas,
    require_list,
    require_numbers,
    require_text,
)

GRID = 1000
_LABELS = ("labels", "bboxes_labels")
_BOX = re.compile(r"(?:<loc_[0-9]{1,3}>){4}")
_LOCATIONS = re.compile(r"(?:<loc_[0-9]{1,3}>)+")
_NUMBER = re.compile(r"[0-9]+")
_TASK = re.compile(r"</?s>|<[A-Z_]{1,40}>")


def recognises(data: Any) -> bool:
    return _answer(data) is not None


def recognises_text(text: str) -> bool:
    """Whether boxes are written as the model's tokens."""
    return _BOX.search(text) is not None


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Boxes as left, top, right, bottom: pixels of `canvas`, or tokens on a grid of 1000, which need none."""
    if isinstance(source, (str, bytes)) and recognises_text(text := decode(source)):
        return _read_tokens(text, canvas or Canvas())
    found = _answer(parsed(source))
    if found is None:
        raise fault("no_detections")
    answer, path = found
    key = next(key for key in _LABELS if key in answer)
    boxes, labels = (require_list(answer[name], Place(name, (*path, name))) for name in ("bboxes", key))
    if len(boxes) != len(labels):
        raise fault("need_equal", path, one="bboxes", first=len(boxes), other=key, second=len(labels))
    numbers = [
        require_numbers(box, 4, Place(f"box {index + 1}", (*path, "bboxes", index)))
        for index, box in enumerate(boxes)
    ]
    captions = [
        require_text(label, Place(f"label {index + 1}", (*path, key, index)))
        for index, label in enumerate(labels)
    ]
    if (polygons := answer.get("polygons")) and isinstance(polygons, list):
        warn("key_not_read", (*path, "polygons"), key="polygons", count=len(polygons))
    in_fractions = all(0 <= number <= 1 for box in numbers for number in box)
    note("fraction" if in_fractions else "pixel", "xyxy")
    canvas = canvas or Canvas() if in_fractions else require_canvas(canvas, "the boxes")
    width, height = (1, 1) if in_fractions else (canvas.width, canvas.height)
    return Layout(
        numbered(
            (Box(x0 / width, y0 / height, x1 / width, y1 / height), caption, None, {})
            for (x0, y0, x1, y1), caption in zip(numbers, captions, strict=True)
        ),
        canvas,
    )


def _answer(data: Any) -> tuple[dict[str, Any], Path] | None:
    """The answer, which stands alone or under the name of its task, and the path to it."""
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("bboxes"), list) and any(isinstance(data.get(key), list) for key in _LABELS):
        return data, ()
    for name, inner in data.items():
        if name.startswith("<") and isinstance(inner, dict) and (found := _answer(inner)):
            return found[0], (name, *found[1])
    return None


def _read_tokens(text: str, canvas: Canvas) -> Layout:
    note("grid1000", "xyxy")
    contents = []
    label, end = "", 0
    for found in _LOCATIONS.finditer(text):
        label = _label(text[end : found.start()]) or label
        end = found.end()
        numbers = [int(number) / GRID for number in _NUMBER.findall(found[0])]
        if len(numbers) % 4:
            where = f"the box of {quote(label)}"
            raise text_fault("need_numbers", text, found.start(), where=where, count=4, value=quote(found[0]))
        # Several boxes in a row share the label before them.
        boxes = (numbers[first : first + 4] for first in range(0, len(numbers), 4))
        contents += [(Box(*box), label, None, {}) for box in boxes]
    if any(map(str.isalnum, rest := _label(text[end:]))):
        warn("key_not_read", key=rest, count=1)
    return Layout(numbered(contents), canvas)


def _label(text: str) -> str:
    """The words between boxes, without the names of tasks."""
    return _TASK.sub("", text).strip()
