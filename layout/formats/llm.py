"""Layouts as language models write them: JSON in prose, keys and conventions as they please.

Nothing is guessed: the order of the four numbers and their unit must be told, or only one reading may put
every box on the canvas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas
from ..messages import quote
from ..problems import Path, fault
from .shared import (
    Place,
    canvas_of,
    exported,
    numbered,
    one_text,
    parsed,
    require_number,
    require_numbers,
    require_object,
)

_LISTS = ("instances", "objects", "elements", "boxes", "regions", "layout", "items", "annotations", "bboxes")
_BOXES = ("box", "bbox", "bounding_box", "boundingBox", "region", "rect", "coordinates", "box_2d", "bbox_2d")
_CAPTIONS = ("caption", "description", "desc", "label", "prompt", "text", "phrase", "name", "object")
_PROMPTS = ("prompt", "global_prompt", "global_caption", "caption", "description", "scene")
_NEGATIVES = ("negative", "negative_prompt")
_ORDERS = ("box_format", "bbox_format", "order", "format", "coordinate_format")
_UNITS = ("units", "unit")

# Four named numbers: which four, and what they mean.
_NAMED: dict[tuple[str, ...], str] = {
    ("x", "y", "width", "height"): "xywh",
    ("x", "y", "w", "h"): "xywh",
    ("left", "top", "width", "height"): "xywh",
    ("x0", "y0", "x1", "y1"): "xyxy",
    ("x1", "y1", "x2", "y2"): "xyxy",
    ("xmin", "ymin", "xmax", "ymax"): "xyxy",
    ("x_min", "y_min", "x_max", "y_max"): "xyxy",
    ("left", "top", "right", "bottom"): "xyxy",
}
_CORNERS: dict[str, Callable[[list[float]], tuple[float, float, float, float]]] = {
    "xyxy": lambda n: (n[0], n[1], n[2], n[3]),
    "xywh": lambda n: (n[0], n[1], n[0] + n[2], n[1] + n[3]),
    "yxyx": lambda n: (n[1], n[0], n[3], n[2]),
}
_UNIT_NAMES = {
    "fraction": "fraction", "fractions": "fraction", "normalized": "fraction", "relative": "fraction",
    "percent": "percent", "%": "percent", "pixel": "pixel", "pixels": "pixel", "px": "pixel",
    "grid1000": "grid1000", "0-1000": "grid1000",
}  # fmt: skip


@dataclass(frozen=True)
class _Region:
    numbers: list[float]
    caption: str
    order: str | None
    unit: str | None


def recognises(data: Any) -> bool:
    """Whether there is a list of things with boxes."""
    _, items, _ = _split(data)
    return bool(items) and all(_looks_like_region(item) for item in items)


def _looks_like_region(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return len(item) == 2 and isinstance(item[0], str)
    return isinstance(item, dict) and (_first(item, _BOXES) is not None or _named(item) is not None)


def read(
    source: Any, *, canvas: Canvas | None = None, order: str | None = None, units: str | None = None
) -> Layout:
    """A list of things with a box and a caption, or an object that holds one under a usual name.

    `order` is xyxy, xywh or yxyx, `units` fraction, percent, pixel or grid1000, where the text does not say.
    """
    head, items, path = _split(parsed(source))
    if items is None:
        raise fault("no_list", names=", ".join(_LISTS))
    single = items and path is None
    regions = [
        _region(item, Place(f"entry {index + 1}", () if single else (*(path or ()), index)))
        for index, item in enumerate(items)
    ]
    canvas = _canvas(head) or canvas
    unit = _unit(units, head, regions, canvas)
    width, height = {"fraction": (1, 1), "percent": (100, 100), "grid1000": (1000, 1000)}.get(unit) or (
        (canvas.width, canvas.height) if canvas else (1, 1)
    )
    chosen = _order(order, head, regions, (width, height))
    boxes = []
    for region in regions:
        x0, y0, x1, y1 = _CORNERS[region.order or chosen](region.numbers)
        boxes.append((Box(x0 / width, y0 / height, x1 / width, y1 / height), region.caption, None, {}))
    prompt, negative = (
        one_text(_first(head, keys) or "", Place(keys[0], _path(head, keys)))
        for keys in (_PROMPTS, _NEGATIVES)
    )
    return Layout(numbered(boxes), canvas or Canvas(), prompt, negative)


def _split(data: Any) -> tuple[Mapping[str, Any], list[Any] | None, Path | None]:
    """What is said about the whole, the list of things, and the path to it (None for one thing alone)."""
    if isinstance(data, list):
        return {}, data, ()
    if not isinstance(data, dict):
        return {}, None, None
    name = next((key for key in _LISTS if isinstance(data.get(key), list)), None)
    inner = data.get("layout")
    if name is None and isinstance(inner, dict):
        head, held, path = _split(inner)
        return {**data, **head}, held, None if path is None else ("layout", *path)
    if name is None and _looks_like_region(data):
        return {}, [data], None
    return (data, None, None) if name is None else (data, data[name], (name,))


def _first(data: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((data[key] for key in keys if data.get(key) is not None), None)


def _path(data: Mapping[str, Any], keys: tuple[str, ...]) -> Path:
    return next(((key,) for key in keys if data.get(key) is not None), ())


def _named(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    return next((names for names in _NAMED if all(name in data for name in names)), None)


def _region(item: Any, where: Place) -> _Region:
    if isinstance(item, (list, tuple)):
        if len(item) != 2:
            raise fault("need_entry", where.path, where=where.words, value=quote(item))
        numbers = require_numbers(item[1], 4, Place(f"{where.words}: box", where.item(1).path))
        return _Region(numbers, one_text(item[0], where.item(0)), None, None)
    item = require_object(item, where)
    place = Place(f"{where.words}: caption", (*where.path, *_path(item, _CAPTIONS)))
    caption = one_text(_first(item, _CAPTIONS) or "", place)
    key = next((key for key in _BOXES if item.get(key) is not None), None)
    value = item if key is None else item[key]
    if isinstance(value, dict):
        names = _named(value)
        if names is None:
            names = ", ".join(_BOXES)
            raise fault("no_box", where.path, where=where.words, names=names, value=quote(item))
        inner = where if key is None else Place(where.words, (*where.path, key))
        numbers = [require_number(value[name], inner.key(name)) for name in names]
        return _Region(numbers, caption, _NAMED[names], None)
    numbers = require_numbers(
        value, 4, Place(f"{where.words}: {key}", (*where.path, *([key] if key else [])))
    )
    if key == "box_2d":  # Gemini's documented convention; no other model uses this key.
        return _Region(numbers, caption, "yxyx", "grid1000")
    return _Region(numbers, caption, _declared(item, where.path), None)


def _declared(data: Mapping[str, Any], path: Path = ()) -> str | None:
    value = _first(data, _ORDERS)
    if value is None:
        return None
    if not isinstance(value, str) or value.lower() not in _CORNERS:
        raise fault("no_order", (*path, *_path(data, _ORDERS)), value=value, known=", ".join(_CORNERS))
    return value.lower()


def _canvas(head: Mapping[str, Any]) -> Canvas | None:
    held = [
        (head, ()),
        *((head[key], (key,)) for key in ("canvas", "image", "size", "image_size") if key in head),
    ]
    for holder, path in held:
        place = Place("the canvas size", path)
        if isinstance(holder, (list, tuple)) and len(holder) == 2:
            return canvas_of(holder[0], holder[1], place, (0, 1))
        if isinstance(holder, dict) and "width" in holder and "height" in holder:
            return canvas_of(holder["width"], holder["height"], place)
    return None


def _unit(units: str | None, head: Mapping[str, Any], regions: list[_Region], canvas: Canvas | None) -> str:
    told = units or _first(head, _UNITS) or next((region.unit for region in regions if region.unit), None)
    if told is None:
        largest = max((abs(number) for region in regions for number in region.numbers), default=0.0)
        if largest <= 1:
            return "fraction"
        if canvas is None:
            raise fault("no_unit", largest=largest)
        return "pixel"
    unit = _UNIT_NAMES.get(told.lower()) if isinstance(told, str) else None
    if unit is None:
        raise fault("unknown_unit", _path(head, _UNITS), value=quote(told))
    if unit == "pixel" and canvas is None:
        raise fault("need_canvas", what="the boxes")
    return unit


def _order(
    order: str | None, head: Mapping[str, Any], regions: list[_Region], sides: tuple[float, float]
) -> str:
    told = _declared({"order": order}) or _declared(head)
    open_numbers = [region.numbers for region in regions if region.order is None]
    if told or not open_numbers:
        return told or "xyxy"
    possible = [
        name for name in ("xyxy", "xywh") if all(_fits(name, numbers, sides) for numbers in open_numbers)
    ]
    if len(possible) == 1:
        return possible[0]
    raise fault("order_open" if possible else "order_none")


def _fits(order: str, numbers: list[float], sides: tuple[float, float]) -> bool:
    x0, y0, x1, y1 = _CORNERS[order](numbers)
    # Rounding of sums like 0.7 + 0.3 must not rule a reading out.
    slack = 1e-6
    return 0 <= x0 < x1 <= sides[0] * (1 + slack) and 0 <= y0 < y1 <= sides[1] * (1 + slack)


def write(layout: Layout) -> dict[str, Any]:
    """A layout to show a language model or to ask one for: everything told; masks and strengths are lost."""
    return {
        "canvas": {"width": layout.canvas.width, "height": layout.canvas.height},
        "prompt": layout.prompt,
        "negative": layout.negative,
        "box_format": "xyxy",
        "units": "fraction",
        "objects": [{"caption": item.caption, "box": list(item.bounds)} for item in exported(layout)],
    }
