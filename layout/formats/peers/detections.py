"""What detectors answer: lists "boxes" and "labels" side by side, or "predictions" by their centres.

DETR and its kin (transformers, torchvision): {"scores", "labels", "boxes"}, corners. Grounding DINO:
{"boxes", "logits", "phrases"}, centres in fractions. Roboflow: {"predictions": [{"x", "y", "width", "height",
"class"}]}, centres in pixels. Read only.
"""

from __future__ import annotations

from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...problems import fault
from ..conventions import CORNERS
from ..found_json import parsed
from ..notes import note, warn
from ..shared import (
    Place,
    canvas_of,
    class_caption,
    numbered,
    require_canvas,
    require_list,
    require_number,
    require_numbers,
    require_object,
    require_text,
    warn_of_numbers,
)

# The first one that is there holds the captions: words before numbers.
_LABELS = ("text_labels", "class_names", "names", "phrases", "labels", "classes", "class_ids")
# What belongs to boxes and is another shape.
_NOT_READ = ("masks", "polygons", "points", "keypoints")
_SIDES = ("x", "y", "width", "height")


def recognises(data: Any) -> bool:
    data = _only(data)
    if not isinstance(data, dict):
        return False
    if isinstance(data.get("boxes"), list) and any(isinstance(data.get(key), list) for key in _LABELS):
        # Phrases alone are GLIGEN's.
        return "phrases" not in data or "logits" in data
    return _is_centred(data.get("predictions"))


def _only(data: Any) -> Any:
    """The answer about the one picture of a batch."""
    return data[0] if isinstance(data, list) and len(data) == 1 else data


def _is_centred(items: Any) -> bool:
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(item, dict) and {*_SIDES, "class"} <= set(item) for item in items)
    )


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Boxes in fractions where no number is above 1, else in pixels; numbers for labels get a warning."""
    data = require_object(_only(parsed(source)), Place("detections"))
    boxes, labels, order, key = _centred(data) if "predictions" in data else _listed(data)
    fractions = all(abs(number) <= 1 for box in boxes for number in box)
    size = data.get("image")
    if isinstance(size, dict) and "width" in size and "height" in size:
        canvas = canvas_of(size["width"], size["height"], Place("the size of the image", ("image",)))
    note("fraction" if fractions else "pixel", order)
    canvas = canvas or Canvas() if fractions else require_canvas(canvas, "the boxes")
    width, height = (1, 1) if fractions else (canvas.width, canvas.height)
    names = data.get("id2label")
    known = {str(number): str(name) for number, name in names.items()} if isinstance(names, dict) else {}
    for name in _NOT_READ:
        held = [data.get(name), *(item.get(name) for item in data.get("predictions", ()))]
        if count := sum(bool(one) for one in held):
            warn("key_not_read", (), key=name, count=count)
    unnamed: set[str] = set()
    contents = []
    for index, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        if isinstance(label, int) and not isinstance(label, bool):
            caption = class_caption(label, known, unnamed)
        else:
            caption = require_text(label, Place(f"label {index + 1}", (key, index)))
        x0, y0, x1, y1 = CORNERS[order](box)
        contents.append((Box(x0 / width, y0 / height, x1 / width, y1 / height), caption, None, {}))
    warn_of_numbers(unnamed)
    return Layout(numbered(contents), canvas)


def _listed(data: dict[str, Any]) -> tuple[list[list[float]], list[Any], str, str]:
    key = next((key for key in _LABELS if isinstance(data.get(key), list)), "labels")
    listed, labels = (require_list(data.get(name), Place(name, (name,))) for name in ("boxes", key))
    if len(listed) != len(labels):
        raise fault("need_equal", one="boxes", first=len(listed), other=key, second=len(labels))
    boxes = [require_numbers(box, 4, Place(f"box {n + 1}", ("boxes", n))) for n, box in enumerate(listed)]
    return boxes, labels, "cxcywh" if "logits" in data else "xyxy", key


def _centred(data: dict[str, Any]) -> tuple[list[list[float]], list[Any], str, str]:
    boxes: list[list[float]] = []
    labels: list[Any] = []
    for index, item in enumerate(require_list(data["predictions"], Place("predictions", ("predictions",)))):
        where = Place(f"prediction {index + 1}", ("predictions", index))
        item = require_object(item, where)
        boxes.append([require_number(item.get(side), where.key(side)) for side in _SIDES])
        labels.append(require_text(item.get("class"), where.key("class")))
    return boxes, labels, "cxcywh", "predictions"
