"""Layouts as language models write them: JSON in prose, keys and conventions as they please.

Nothing is guessed: the order of the four numbers and their unit must be told, or only one reading may put
every box on the canvas.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas
from ..messages import quote
from ..problems import Path, fault
from .conventions import CORNERS, NAMED, SIDES, fits, known_unit, named_sides, order_named
from .found_json import parsed
from .notes import note, warn
from .shared import (
    Place,
    canvas_of,
    exported,
    is_words,
    kind_of,
    numbered,
    one_text,
    require_number,
    require_numbers,
    require_object,
    require_side,
    warn_of_numbers,
)

_LISTS = ("instances", "objects", "elements", "boxes", "regions", "layout", "items", "annotations", "bboxes")
_BOXES = ("box", "bbox", "bounding_box", "boundingBox", "region", "rect", "coordinates", "box_2d", "bbox_2d")
# Keys whose order of numbers is certain: Gemini writes the one, Qwen the other.
_CERTAIN = {"box_2d": "yxyx", "bbox_2d": "xyxy"}
# What the same models write where they were asked for points or outlines.
_POINTS = ("point_2d", "point", "points")
_SCORES = ("score", "confidence")
_NOT_READ = ("mask", "segmentation", "polygon")
# What an entry may say besides, and what means nothing was said.
_NOT_TAKEN: Mapping[str, Any] = {
    **dict.fromkeys(("negative", "negative_prompt", "color"), None),
    "strength": 1,
    "weight": 1,
    "start": 0,
    "end": 1,
    "enabled": True,
    "locked": False,
}
_CAPTIONS = ("caption", "description", "desc", "label", "prompt", "text", "phrase", "name", "object")
_PROMPTS = ("prompt", "global_prompt", "global_caption", "caption", "description", "scene")
_NEGATIVES = ("negative", "negative_prompt")
_ORDERS = ("box_format", "bbox_format", "order", "format", "coordinate_format")
_UNITS = ("units", "unit", "bbox_units", "coordinate_units")
# Where words are no caption.
_OTHERS = {*_BOXES, *_POINTS, *_SCORES, *_NOT_READ, *_NOT_TAKEN, *_ORDERS, *_UNITS}
_SIZES = ("canvas", "image", "size", "image_size")
_SIZE = re.compile(r"\s*([0-9]{1,7})\s*[x×*]\s*([0-9]{1,7})\s*(?:px|pixels)?\s*", re.IGNORECASE)
# Of a size in words: what is less is a proportion, such as 16x9.
_LEAST_SIDE = 64
_MOST_NAMED = 10
GRID = 1000


@dataclass(frozen=True)
class _Region:
    numbers: list[float]
    caption: str
    order: str | None
    unit: str | None
    # The key of the list of numbers, "" for named sides and pairs: what it says gives way to what is told.
    key: str = ""
    # Whether each of the four numbers has a name of its own.
    named: bool = False
    # Whether a detector found it, which counts pixels.
    detected: bool = False


def recognises(data: Any) -> bool:
    """Whether there is a list of things with boxes; an empty one only where numbers are explained."""
    head, items, _ = _split(data)
    if items == []:
        return any(key in head for key in _ORDERS)
    return bool(items) and all(_looks_like_region(item) for item in items)


def _looks_like_region(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return len(item) == 2 and isinstance(item[0], str)
    return isinstance(item, dict) and (_has_box(item) or _is_point(item))


def _has_box(item: Mapping[str, Any]) -> bool:
    return _first(item, _BOXES) is not None or named_sides(item) is not None


def _is_point(item: Any) -> bool:
    return isinstance(item, dict) and not _has_box(item) and _first(item, _POINTS) is not None


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
    unnamed: set[str] = set()
    listed = _with_area(items, path or ())
    told = _declared({"order": order}) or _declared(head)
    regions = [
        _region(item, Place(f"entry {index + 1}", () if single else (*(path or ()), index)), unnamed, told)
        for index, item in listed
    ]
    warn_of_numbers(unnamed)
    _warn_of_words(
        [item for (_, item), region in zip(listed, regions, strict=True) if not region.caption], path or ()
    )
    told_canvas = _canvas(head)
    canvas = told_canvas or canvas
    regions = [_certain(region, told) for region in regions]
    regions = _with_units(regions, known_unit(units, ()), head, canvas, told_canvas is not None)
    chosen = told or _order(regions, canvas)
    boxes = []
    for region in regions:
        width, height = _sides(region.unit, canvas)
        x0, y0, x1, y1 = CORNERS[region.order or chosen](region.numbers)
        boxes.append((Box(x0 / width, y0 / height, x1 / width, y1 / height), region.caption, None, {}))
    note(
        " and ".join(sorted({str(region.unit) for region in regions})) or "fraction",
        ", ".join(sorted({region.order or chosen for region in regions})),
    )
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


def _with_area(items: list[Any], path: Path) -> list[tuple[int, Any]]:
    """The entries with their indexes, but for points; what else of them is not read is told."""
    if items and all(_is_point(item) for item in items):
        raise fault("only_points", path)
    for index, item in enumerate(items):
        if _is_point(item):
            warn("shape_without_area", (*path, index), number=index + 1, kind="point")
    for key in _NOT_READ:
        count = sum(isinstance(item, dict) and not _is_empty(item.get(key)) for item in items)
        if count:
            warn("key_not_read", path, key=key, count=count)
    for key, plain in _NOT_TAKEN.items():
        values = (item.get(key) for item in items if isinstance(item, dict))
        if count := sum(not _says_nothing(value, plain) for value in values):
            warn("key_not_read", path, key=key, count=count)
    return [(index, item) for index, item in enumerate(items) if not _is_point(item)]


def _warn_of_words(items: list[Any], path: Path) -> None:
    """Tell the keys of entries without a caption that hold words all the same."""
    left = Counter(
        key
        for item in items
        if isinstance(item, dict)
        for key, value in item.items()
        if key not in _OTHERS and is_words(value)
    )
    for key, count in left.most_common(_MOST_NAMED):
        warn("key_not_read", path, key=key, count=count)


def _first(data: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """The value of the first key that says something: an empty text does not."""
    return next((data[key] for key in keys if not _is_empty(data.get(key))), None)


def _path(data: Mapping[str, Any], keys: tuple[str, ...]) -> Path:
    return next(((key,) for key in keys if not _is_empty(data.get(key))), ())


def _is_empty(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _says_nothing(value: Any, plain: Any) -> bool:
    """Whether a value is what counts without it, be it a number or a word in quotes."""
    if _is_empty(value) or value == plain:
        return True
    if not isinstance(value, str) or plain is None:
        return False
    return value.strip().lower() in (str(plain).lower(), str(float(plain)))


def _region(item: Any, where: Place, unnamed: set[str], told: str | None) -> _Region:
    """One entry; `told` is the order of all of them, where the text or the caller says one."""
    if isinstance(item, (list, tuple)):
        if len(item) != 2:
            raise fault("need_entry", where.path, where=where.words, value=quote(item))
        numbers = require_numbers(item[1], 4, Place(f"{where.words}: box", where.item(1).path))
        return _Region(numbers, one_text(item[0], where.item(0)), None, None)
    item = require_object(item, where)
    unit = known_unit(_first(item, _UNITS), (*where.path, *_path(item, _UNITS)))
    place = Place(f"{where.words}: caption", (*where.path, *_path(item, _CAPTIONS)))
    caption = one_text(_first(item, _CAPTIONS) or "", place) or kind_of(item, unnamed)
    key = next((key for key in _BOXES if item.get(key) is not None), None)
    value = item if key is None else item[key]
    if isinstance(value, dict):
        names = named_sides(value)
        if names is None:
            names = ", ".join(_BOXES)
            raise fault("no_box", where.path, where=where.words, names=names, value=quote(item))
        inner = where if key is None else Place(where.words, (*where.path, key))
        numbers = [require_number(value[name], inner.key(name)) for name in names]
        detected = any(key in item for key in _SCORES)
        order = _named_order(names, _declared(item, where.path) or told)
        return _Region(numbers, caption, order, unit, "", True, detected)
    numbers = require_numbers(
        value, 4, Place(f"{where.words}: {key}", (*where.path, *([key] if key else [])))
    )
    return _Region(numbers, caption, _declared(item, where.path), unit, key or "")


def _named_order(names: tuple[str, ...], told: str | None) -> str:
    """What named sides mean; x and y of a box with a size may be said to be its centre."""
    if told == "cxcywh" and names[:2] == ("x", "y"):
        return told
    if told is not None and told != NAMED[names]:
        warn("order_not_taken", order=told, names=", ".join(names))
    return NAMED[names]


def _certain(region: _Region, told: str | None) -> _Region:
    """A region whose order follows from its key, unless the whole text tells another."""
    return replace(region, order=region.order or told or _CERTAIN.get(region.key))


def _declared(data: Mapping[str, Any], path: Path = ()) -> str | None:
    value = _first(data, _ORDERS)
    if value is None:
        return None
    order = order_named(value)
    if order is None:
        raise fault("no_order", (*path, *_path(data, _ORDERS)), value=value, known=", ".join(CORNERS))
    return order


def _canvas(head: Mapping[str, Any]) -> Canvas | None:
    held = [(head, ()), *((head[key], (key,)) for key in _SIZES if key in head)]
    for holder, path in held:
        place = Place("the canvas size", path)
        if isinstance(holder, str) and (sides := _SIZE.fullmatch(holder)):
            width, height = int(sides[1]), int(sides[2])
            if min(width, height) >= _LEAST_SIDE:
                return Canvas(require_side(width, place), require_side(height, place))
            # The size that the caller tells may count.
            warn("proportion_not_read", path, value=holder, least=_LEAST_SIDE)
        if isinstance(holder, (list, tuple)) and len(holder) == 2:
            return canvas_of(holder[0], holder[1], place, (0, 1))
        if isinstance(holder, dict) and "width" in holder and "height" in holder:
            return canvas_of(holder["width"], holder["height"], place)
    return None


def _with_units(
    regions: list[_Region],
    told: str | None,
    head: Mapping[str, Any],
    canvas: Canvas | None,
    is_told: bool,
) -> list[_Region]:
    """Regions with the unit that the caller tells, else their own, else that of the whole text, or a certain
    one.
    """
    whole = told or known_unit(_first(head, _UNITS), _path(head, _UNITS))
    rest = [region for region in regions if region.unit is None]
    if whole is None and rest:
        whole = _likely_unit(rest, canvas, is_told)
    found = [replace(region, unit=told or region.unit or whole) for region in regions]
    if canvas is None and "pixel" in (whole, *(region.unit for region in found)):
        raise fault("need_canvas", what="the boxes")
    return found


def _likely_unit(regions: list[_Region], canvas: Canvas | None, is_told: bool) -> str:
    """The one unit that puts every box on the canvas; pixels where custom has them, with a warning."""
    largest = max((abs(number) for region in regions for number in region.numbers), default=0.0)
    if largest <= 1:
        return "fraction"
    keys = {region.key for region in regions}
    if keys == {"box_2d"} and largest <= GRID:
        return "grid1000"
    if canvas is None:
        raise fault("no_unit", largest=largest)
    width, height = canvas.width, canvas.height
    on_canvas = _may_all_fit(regions, (width, height))
    others = [unit for unit in ("percent", "grid1000") if _may_all_fit(regions, (SIDES[unit], SIDES[unit]))]
    # Versions of Qwen differ: pixels of the picture or a grid of 1000, never percent.
    others = [unit for unit in others if unit == "grid1000" or "bbox_2d" not in keys]
    if not others or (is_told and on_canvas):
        return "pixel"
    if keys == {"bbox_2d"} and not on_canvas:
        return "grid1000"
    if on_canvas and all(region.named for region in regions):
        # Named sides are pixels by custom.
        if not all(region.detected for region in regions):
            warn("unit_taken", width=width, height=height, choices=", ".join(others))
        return "pixel"
    choices = ", ".join(["pixel", *others])
    raise fault("unit_open", largest=largest, width=width, height=height, choices=choices)


def _may_all_fit(regions: list[_Region], sides: tuple[float, float]) -> bool:
    return all(_may_fit(region, sides) for region in regions)


def _may_fit(region: _Region, sides: tuple[float, float]) -> bool:
    orders = [region.order] if region.order else ["xyxy", "xywh"]
    return any(fits(order, region.numbers, sides) for order in orders)


def _sides(unit: str | None, canvas: Canvas | None) -> tuple[float, float]:
    if unit == "pixel" and canvas:
        return canvas.width, canvas.height
    side = SIDES.get(unit or "", 1)
    return side, side


def _order(regions: list[_Region], canvas: Canvas | None) -> str:
    rest = [(region.numbers, _sides(region.unit, canvas)) for region in regions if region.order is None]
    if not rest:
        return "xyxy"
    possible = [name for name in ("xyxy", "xywh") if all(fits(name, *one) for one in rest)]
    if len(possible) == 1:
        if possible == ["xywh"] and all(fits("cxcywh", *one) for one in rest):
            warn("order_taken")
        return possible[0]
    raise fault("order_open" if possible else "order_none")


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
