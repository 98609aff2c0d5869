"""Layouts scaled and cropped as their pictures are, and how many things are left of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....layout import Box, Layout
from ....layout.instance import VERSION, same_proportion
from ....layout.json_text import parse_json
from ....layout.transform import crop, resize_canvas
from ....layout.validation import LARGEST_CANVAS, SMALLEST_CANVAS, STRONGEST
from ..errors import SourceError

# As JSON has them; a switch is none.
_NUMBERS = frozenset((int, float))
_SELDOM = frozenset(("strength", "start", "end", "negative", "locked", "mask", "color"))


def middle(width: int, height: int, proportion: float) -> Box:
    """The largest part of a picture, in fractions, that has this width over height and the same centre."""
    share_x = min(1.0, height * proportion / width)
    share_y = min(1.0, width / proportion / height)
    return Box((1 - share_x) / 2, (1 - share_y) / 2, (1 + share_x) / 2, (1 + share_y) / 2)


def fitted(layout: Layout, size: tuple[int, int], width: int, height: int) -> Layout:
    """The layout of a picture of this size, scaled and cropped as the picture is."""
    return resize_canvas(crop(layout, middle(*size, width / height)), width, height)


def nearest(pictures: np.ndarray, sizes: Sequence[tuple[int, int]]) -> np.ndarray:
    """For each width and height (n, 2) the number of the size whose proportion is nearest."""
    own, ratios = pictures.astype(np.float64), np.log([width / height for width, height in sizes])
    return np.abs(np.log(own[:, 0] / own[:, 1])[:, None] - ratios).argmin(axis=1)


def things_left(text: bytes, size: tuple[int, int], width: int, height: int) -> int:
    """How many things of a picture's layout are trained at width × height; `LayoutError` as for reading.

    A layout that is plainly in order is not made into objects: a data set may have a million.
    """
    data = parse_json(text)
    count = _plain_things(data, size, width, height)
    if count is None:
        count = len(fitted(Layout.from_dict(data).checked(), size, width, height).active)
    return count


def check_upright(text: bytes, size: tuple[int, int]) -> None:
    """`SourceError` for a layout of the picture before it was turned by a quarter.

    Other shapes are no proof of a fault: boxes are fractions, and formats that tell no size have a canvas of
    their own.
    """
    canvas = parse_json(text)["canvas"]
    own = (canvas["width"], canvas["height"])
    if same_proportion(own, (size[1], size[0])) and not same_proportion(own, size):
        raise SourceError(
            f"the picture is {size[0]} × {size[1]}, the canvas of its layout {own[0]} × {own[1]}: it was "
            "turned since, and its boxes lie elsewhere, or the layout was written with another picture's "
            "size; write it again with its own"
        )


def _plain_things(data: Any, size: tuple[int, int], width: int, height: int) -> int | None:
    """The same, or None where anything is unusual, from a mask to a mistake."""
    if type(data) is not dict or type(data.get("version")) is not int or data["version"] != VERSION:
        return None
    canvas, instances = data.get("canvas"), data.get("instances")
    if type(canvas) is not dict or type(instances) is not list:
        return None
    if type(data.get("prompt", "")) is not str or type(data.get("negative", "")) is not str:
        return None
    window = middle(*size, width / height)
    for side, share, made in (("width", window.width, width), ("height", window.height, height)):
        pixels = canvas.get(side)
        if type(pixels) is not int:
            return None
        if not all(SMALLEST_CANVAS <= x <= LARGEST_CANVAS for x in (pixels, round(share * pixels), made)):
            return None
    identifiers: set[str] = set()
    left = 0
    for one in instances:
        active = _plain_active(one)
        if active is None:
            return None
        identifiers.add(one["id"])
        left += active and _meets(one["box"], window)
    return left if len(identifiers) == len(instances) else None


def _plain_active(one: Any) -> bool | None:
    """Whether an instance takes part, None for an unusual one."""
    if type(one) is not dict:
        return None
    take = one.get
    name, box, caption, enabled = take("id"), take("box"), take("caption", ""), take("enabled", True)
    if type(name) is not str or not name or type(caption) is not str or type(enabled) is not bool:
        return None
    if type(box) is not list or len(box) != 4:
        return None
    x0, y0, x1, y1 = box
    if not (type(x0) in _NUMBERS and type(y0) in _NUMBERS and type(x1) in _NUMBERS and type(y1) in _NUMBERS):
        return None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        return None
    # What else stands there is what `Layout.to_json` leaves out, or it is another program's.
    if not _SELDOM.isdisjoint(one) and not _plain_rest(one):
        return None
    return enabled and bool(caption.strip())


def _plain_rest(one: dict[str, Any]) -> bool:
    strength, start, end = one.get("strength", 1.0), one.get("start", 0.0), one.get("end", 1.0)
    if not all(type(x) in _NUMBERS for x in (strength, start, end)):
        return False
    if not (0 <= strength <= STRONGEST and 0 <= start < end <= 1):
        return False
    if type(one.get("negative", "")) is not str or type(one.get("locked", False)) is not bool:
        return False
    return one.get("mask") is None and one.get("color") is None


def _meets(box: Sequence[float], window: Box) -> bool:
    """Whether anything of a box on the canvas is in a window, reckoned as the layout would be cut."""
    x0, y0, x1, y1 = box
    wide, high = window.x1 - window.x0, window.y1 - window.y0
    left, right = max(0.0, (x0 - window.x0) / wide), min(1.0, (x1 - window.x0) / wide)
    top, bottom = max(0.0, (y0 - window.y0) / high), min(1.0, (y1 - window.y0) / high)
    return right - left > 0 and bottom - top > 0
