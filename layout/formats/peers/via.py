"""VGG Image Annotator's projects and exports (versions 1 to 3): regions in pixels. Read only."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot
from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...mask import Mask
from ...problems import Path, fault
from ..found_json import parsed
from ..notes import note, warn
from ..shared import (
    Place,
    chosen_picture,
    outline,
    require_canvas,
    require_list,
    require_number,
    require_numbers,
    require_object,
    shaped,
    turned_radii,
)

_PROJECT = "_via_img_metadata"
# Attributes that usually hold what a region shows; else the first one does.
_NAMES = ("label", "name", "class", "caption", "description", "category", "object", "type")
# Version 3 numbers its shapes (_via_metadata.js). The last two are its "extreme" ones, kept as the points
# that people clicked: four on the edges of a box, three on a circle (_via_file_annotator.js).
_KINDS: Mapping[float, str] = {
    1: "point",
    2: "rect",
    3: "circle",
    4: "ellipse",
    5: "line",
    6: "polyline",
    7: "polygon",
    8: "box of points",
    9: "circle of points",
}
_WITHOUT_AREA = ("point", "line", "polyline")
# What the numbers of a shape are called in the versions before.
_NUMBERS = {
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
}


def recognises(data: Any) -> bool:
    return _images(data) is not None or _is_third(data)


def _images(data: Any) -> dict[str, Any] | None:
    """Pictures by key, of a project or an export of versions 1 and 2."""
    if isinstance(data, dict) and isinstance(data.get(_PROJECT), dict):
        return data[_PROJECT]
    if not isinstance(data, dict) or not data:
        return None
    are_images = all(
        isinstance(image, dict) and "filename" in image and isinstance(image.get("regions"), (list, dict))
        for image in data.values()
    )
    return data if are_images else None


def _is_third(data: Any) -> bool:
    return isinstance(data, dict) and all(
        isinstance(data.get(key), dict) for key in ("file", "metadata", "attribute")
    )


def read(source: Any, *, canvas: Canvas | None = None, image: int | str | None = None) -> Layout:
    """The regions of one picture, chosen by `image` (file name or key) if there are several, on `canvas`."""
    data = require_object(parsed(source), Place("a VIA project"))
    canvas = require_canvas(canvas, "the regions")
    note("pixel", "xywh")
    images = _images(data)
    if images is None and not _is_third(data):
        raise fault("no_regions")
    regions = _third(data, image) if images is None else _second(images, image)
    contents: list[tuple[Box, str, Mask | None]] = []
    for number, (kind, numbers, caption, where) in enumerate(regions, 1):
        area = _area(kind, numbers, where, canvas)
        if area is None:
            code = "shape_without_area" if kind in _WITHOUT_AREA else "area_not_read"
            warn(code, where.path, number=number, kind=str(kind)[:40])
        else:
            contents.append((area[0], caption, area[1]))
    return Layout(shaped(contents), canvas)


_Region = tuple[str, list[float], str, Place]


def _second(images: Mapping[str, Any], image: int | str | None) -> list[_Region]:
    listed = list(images.items())
    called = [(value.get("filename") if isinstance(value, dict) else key, key) for key, value in listed]
    key, held = listed[chosen_picture(called, image)]
    regions = require_object(held, Place(key)).get("regions") or []
    items = list(regions.values()) if isinstance(regions, dict) else require_list(regions, Place("regions"))
    found: list[_Region] = []
    for index, item in enumerate(items):
        where = Place(f"region {index + 1}")
        shape = require_object(
            require_object(item, where).get("shape_attributes"), where.key("shape_attributes")
        )
        kind = str(shape.get("name"))
        names = _NUMBERS.get(kind)
        if names:
            numbers = [require_number(shape.get(name), where.key(name)) for name in names]
            if kind == "ellipse":
                numbers.append(require_number(shape.get("theta") or 0, where.key("theta")))
        elif kind == "polygon":
            across, down = (
                require_list(shape.get(name), where.key(name)) for name in ("all_points_x", "all_points_y")
            )
            if len(across) != len(down):
                one, other = "all_points_x", "all_points_y"
                raise fault("need_equal", one=one, first=len(across), other=other, second=len(down))
            pairs = zip(across, down, strict=True)
            numbers = [require_number(value, where) for pair in pairs for value in pair]
        else:
            numbers = []
        attributes = item.get("region_attributes")
        found.append((kind, numbers, _caption(attributes if isinstance(attributes, dict) else {}), where))
    return found


def _third(data: Mapping[str, Any], image: int | str | None) -> list[_Region]:
    files = {str(key): value for key, value in data["file"].items() if isinstance(value, dict)}
    called = [(file.get("fname"), key) for key, file in files.items()]
    chosen = list(files)[chosen_picture(called, image, ("file",))]
    views = data.get("view")
    shown = {
        str(key)
        for key, view in (views if isinstance(views, dict) else {}).items()
        if isinstance(view, dict) and isinstance(view.get("fid_list"), list)
        if chosen in map(str, view["fid_list"])
    } or {chosen}
    found: list[_Region] = []
    for key, item in data["metadata"].items():
        path: Path = ("metadata", key)
        where = Place(f"region {len(found) + 1}", path)
        item = require_object(item, where)
        if str(item.get("vid")) not in shown or not item.get("xy"):
            continue
        values = require_list(item["xy"], where.key("xy"))
        numbers = require_numbers(values, len(values), where.key("xy"))
        kind = _KINDS.get(numbers[0], f"shape {numbers[0]:g}")
        named = item.get("av")
        found.append((kind, numbers[1:], _caption(_attributes(data["attribute"], named)), where))
    return found


def _attributes(known: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Values of attributes by name; choices as they are shown."""
    values: dict[str, Any] = {}
    for key, value in given.items() if isinstance(given, dict) else ():
        attribute = known.get(key)
        attribute = attribute if isinstance(attribute, dict) else {}
        options = attribute.get("options")
        shown = options.get(value) if isinstance(options, dict) and isinstance(value, str) else None
        values[str(attribute.get("aname") or key)] = shown or value
    return values


def _caption(attributes: Mapping[str, Any]) -> str:
    names = [name for name in _NAMES if attributes.get(name)] or list(attributes)
    value = attributes[names[0]] if names else ""
    if isinstance(value, dict):
        # Ticked boxes.
        return ", ".join(str(name) for name, ticked in value.items() if ticked)
    return value if isinstance(value, str) else str(value)


def _area(kind: str, numbers: list[float], where: Place, canvas: Canvas) -> tuple[Box, Mask | None] | None:
    width, height = canvas.width, canvas.height
    needed = len(_NUMBERS.get(kind, ()))
    if kind == "polygon":
        if len(numbers) % 2 or len(numbers) < 6:
            raise fault("need_pairs", where.path, where=where.words, count=len(numbers))
        return outline(
            [(x / width, y / height) for x, y in zip(numbers[::2], numbers[1::2], strict=True)], where
        )
    if kind == "box of points":
        return _around(numbers, where, canvas), None
    if kind == "circle of points":
        numbers = _circle_through(require_numbers(numbers, 6, where))
        needed = len(numbers)
    if not needed:
        return None
    angle = numbers.pop() if kind == "ellipse" and len(numbers) > needed else 0.0
    require_numbers(numbers, needed, where)
    if kind == "rect":
        return Box.from_pixels(numbers, width, height), None
    x, y, across, down = (*numbers, numbers[-1])[:4]
    across, down = turned_radii(across, down, angle)
    return Box((x - across) / width, (y - down) / height, (x + across) / width, (y + down) / height), None


def _around(numbers: list[float], where: Place, canvas: Canvas) -> Box:
    """The box around points x, y, x, y, … in pixels."""
    if len(numbers) % 2 or len(numbers) < 4:
        raise fault("need_points", where.path, where=where.words, count=len(numbers) // 2)
    across, down = numbers[::2], numbers[1::2]
    sides = (canvas.width, canvas.height) * 2
    edges = (min(across), min(down), max(across), max(down))
    return Box(*(edge / side for edge, side in zip(edges, sides, strict=True)))


def _circle_through(numbers: list[float]) -> list[float]:
    """Centre and radius of the circle through three points; nothing where they lie on a line."""
    x, y, *others = numbers
    (bx, by), (cx, cy) = ((others[n] - x, others[n + 1] - y) for n in (0, 2))
    twice = 2 * (bx * cy - by * cx)
    if not twice:
        return []
    b, c = bx * bx + by * by, cx * cx + cy * cy
    right, below = (cy * b - by * c) / twice, (bx * c - cx * b) / twice
    return [x + right, y + below, hypot(right, below)]
