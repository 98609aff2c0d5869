"""Florence-2's detections: lists of boxes and labels in pixels, or its own tokens on a grid. Read only."""

from __future__ import annotations

import re
from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...json_text import decode
from ...problems import Path, fault
from ..found_json import parsed
from ..notes import note
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
_LOCATIONS = re.compile(r"((?:<loc_[0-9]{1,3}>){4})")
_NUMBER = re.compile(r"[0-9]+")
_TASK = re.compile(r"</?s>|<[A-Z_]{1,40}>")


def recognises(data: Any) -> bool:
    return _answer(data) is not None


def recognises_text(text: str) -> bool:
    """Whether boxes are written as the model's tokens."""
    return _LOCATIONS.search(text) is not None


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
    label = ""
    for part in _LOCATIONS.split(text):
        if not _LOCATIONS.fullmatch(part):
            # Several boxes in a row share the label before them.
            label = require_text(_TASK.sub("", part).strip(), Place("label")) or label
            continue
        x0, y0, x1, y1 = (int(number) / GRID for number in _NUMBER.findall(part))
        contents.append((Box(x0, y0, x1, y1), label, None, {}))
    return Layout(numbered(contents), canvas)
