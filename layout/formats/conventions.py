"""Conventions of four numbers: their order, their unit, and the names people give to both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..messages import quote
from ..problems import Path, fault

Corners = tuple[float, float, float, float]

# Left, top, right, bottom from the numbers of each order.
CORNERS: Mapping[str, Callable[[list[float]], Corners]] = {
    "xyxy": lambda n: (n[0], n[1], n[2], n[3]),
    "xywh": lambda n: (n[0], n[1], n[0] + n[2], n[1] + n[3]),
    "yxyx": lambda n: (n[1], n[0], n[3], n[2]),
    "cxcywh": lambda n: (n[0] - n[2] / 2, n[1] - n[3] / 2, n[0] + n[2] / 2, n[1] + n[3] / 2),
}

# Four named numbers: which four, and what they mean.
NAMED: Mapping[tuple[str, ...], str] = {
    ("x", "y", "width", "height"): "xywh",
    ("x", "y", "w", "h"): "xywh",
    ("left", "top", "width", "height"): "xywh",
    ("x0", "y0", "x1", "y1"): "xyxy",
    ("x1", "y1", "x2", "y2"): "xyxy",
    ("xmin", "ymin", "xmax", "ymax"): "xyxy",
    ("x_min", "y_min", "x_max", "y_max"): "xyxy",
    ("left", "top", "right", "bottom"): "xyxy",
    ("cx", "cy", "w", "h"): "cxcywh",
    ("cx", "cy", "width", "height"): "cxcywh",
    ("center_x", "center_y", "width", "height"): "cxcywh",
    ("x_center", "y_center", "width", "height"): "cxcywh",
}

# Names of orders, without case and signs.
_ORDERS = {
    **{name: name for name in CORNERS},
    **dict.fromkeys(("x0y0x1y1", "x1y1x2y2", "xminyminxmaxymax", "ltrb", "lefttoprightbottom"), "xyxy"),
    **dict.fromkeys(("xyxyn", "pascalvoc", "voc", "corners"), "xyxy"),
    **dict.fromkeys(("xywidthheight", "ltwh", "lefttopwidthheight", "coco"), "xywh"),
    **dict.fromkeys(("y0x0y1x1", "y1x1y2x2", "yminxminymaxxmax", "tlbr", "topleftbottomright"), "yxyx"),
    **dict.fromkeys(("cxcywidthheight", "xcenterycenterwidthheight", "centerxcenterywidthheight"), "cxcywh"),
    **dict.fromkeys(("xywhn", "yolo", "center", "centerxywh", "xcycwh"), "cxcywh"),
}
_FRACTION = ("fraction", "fractions", "normalized", "normalised", "relative", "ratio", "0-1", "0..1", "[0,1]")
_PERCENT = ("percent", "percentage", "%", "0-100")
_PIXEL = ("pixel", "pixels", "px", "absolute")
_GRID = ("grid1000", "grid-1000", "0-1000", "0..1000", "[0,1000]", "per-mille", "permille", "norm1000")
_UNITS = {
    **dict.fromkeys(_FRACTION, "fraction"),
    **dict.fromkeys(_PERCENT, "percent"),
    **dict.fromkeys(_PIXEL, "pixel"),
    **dict.fromkeys(_GRID, "grid1000"),
}
UNITS = ("fraction", "percent", "pixel", "grid1000")
# The largest number of each unit that does not depend on the canvas.
SIDES = {"fraction": 1, "percent": 100, "grid1000": 1000}


def order_named(name: Any) -> str | None:
    """The order that goes by a name, None for names that nobody uses."""
    return _ORDERS.get(re.sub(r"[^a-z0-9]", "", name[:60].lower())) if isinstance(name, str) else None


def unit_named(name: Any) -> str | None:
    """The unit that goes by a name, None for names that nobody uses."""
    return _UNITS.get(re.sub(r"\s", "", name[:60].lower())) if isinstance(name, str) else None


def known_unit(told: Any, path: Path) -> str | None:
    """The unit that is told, None where none is; LayoutError, at a path, for names that nobody uses."""
    if told is None:
        return None
    unit = unit_named(told)
    if unit is None:
        raise fault("unknown_unit", path, value=quote(told))
    return unit


def named_sides(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The keys of four named numbers in an object."""
    return next((names for names in NAMED if all(name in data for name in names)), None)


def fits(order: str, numbers: list[float], sides: tuple[float, float]) -> bool:
    """Whether numbers, read in an order, are a box on a canvas."""
    x0, y0, x1, y1 = CORNERS[order](numbers)
    # Rounding of sums like 0.7 + 0.3 must not rule a reading out.
    slack = 1e-6
    return 0 <= x0 < x1 <= sides[0] * (1 + slack) and 0 <= y0 < y1 <= sides[1] * (1 + slack)
