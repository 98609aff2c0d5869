"""LabelMe's annotations of one picture: shapes with a label and points in pixels. Read only.

X-AnyLabeling writes the same files with kinds of its own, "rotation" among them.
"""

from __future__ import annotations

from math import hypot
from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas, Instance
from ...mask import Mask
from ...problems import fault
from ..found_json import parsed
from ..notes import note, warn
from ..shared import (
    Place,
    canvas_of,
    given,
    outline,
    require_canvas,
    require_list,
    require_numbers,
    require_object,
    require_text,
)

# Boxes by their four corners: X-AnyLabeling's, LabelMe's, X-AnyLabeling's with corners that move apart.
_CORNERS = ("rotation", "oriented_rectangle", "quadrilateral")
_AREAS = ("rectangle", "polygon", "circle", "mask", *_CORNERS)
_WITHOUT_AREA = ("point", "points", "line", "linestrip")


def recognises(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("shapes"), list)


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Rectangles, circles, polygons and turned boxes with their outline; others are left out with a warning.

    `canvas` is used where the file does not tell the size of its picture.
    """
    data = require_object(parsed(source), Place("a LabelMe file"))
    if data.get("imageWidth") is not None and data.get("imageHeight") is not None:
        steps = ("imageWidth", "imageHeight")
        canvas = canvas_of(data[steps[0]], data[steps[1]], Place("the size of the image"), steps)
    canvas = require_canvas(canvas, "the shapes")
    note("pixel", "xyxy")
    instances: list[Instance] = []
    masks = 0
    for index, shape in enumerate(require_list(data.get("shapes"), Place("shapes", ("shapes",)))):
        where = Place(f"shape {index + 1}", ("shapes", index))
        shape = require_object(shape, where)
        kind = given(shape, "shape_type", "polygon")
        if kind not in _AREAS:
            code = "shape_without_area" if kind in _WITHOUT_AREA else "area_not_read"
            warn(code, where.path, number=index + 1, kind=str(kind)[:40])
            continue
        caption = require_text(given(shape, "label"), where.key("label"))
        box, mask = _area(kind, _points(shape, where, canvas), where, canvas)
        instances.append(Instance(str(len(instances) + 1), box, caption, mask=mask))
        masks += kind == "mask"
    if masks:
        warn("key_not_read", ("shapes",), key="mask", count=masks)
    return Layout(tuple(instances), canvas)


def _points(shape: dict[str, Any], where: Place, canvas: Canvas) -> list[tuple[float, float]]:
    place = where.key("points")
    pairs = (
        require_numbers(point, 2, place.item(index))
        for index, point in enumerate(require_list(shape.get("points"), place))
    )
    points = [(x / canvas.width, y / canvas.height) for x, y in pairs]
    if len(points) < 2:
        raise fault("need_points", place.path, where=place.words, count=len(points))
    return points


def _area(
    kind: str, points: list[tuple[float, float]], where: Place, canvas: Canvas
) -> tuple[Box, Mask | None]:
    """The box of a shape, and its outline if that is another."""
    if kind == "circle":
        (x, y), edge = points[0], points[1]
        radius = hypot((edge[0] - x) * canvas.width, (edge[1] - y) * canvas.height)
        across, down = radius / canvas.width, radius / canvas.height
        return Box(x - across, y - down, x + across, y + down), None
    across, down = zip(*points, strict=True)
    box = Box(min(across), min(down), max(across), max(down))
    # A box that nobody has turned yet may be two corners.
    if kind == "polygon" or (kind in _CORNERS and len(points) > 2):
        return outline(points, where)
    return box, None
