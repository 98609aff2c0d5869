"""Window around a region: the part of a picture that is looked at while the region is drawn again."""

from __future__ import annotations

import math

from ...layout import Box, Canvas

# Of the picture's sides: a window smaller than that would show the model nothing of the picture around.
SMALLEST = 0.25

# Left, top, right, bottom in pixels.
Window = tuple[int, int, int, int]


def window_around(region: Box, width: int, height: int, context: float) -> Window:
    """The window of a picture's own proportions that holds a region and what is around it.

    `context`: how much around, on every side, as a share of the region's longer side in pixels. The window
    stays inside the picture; at its largest it is all of it.
    """
    x, y, across, down = region.to_pixels(width, height)
    around = context * max(across, down)
    share = max((across + 2 * around) / width, (down + 2 * around) / height, SMALLEST)
    share = min(share, 1.0)
    columns, rows = round(share * width), round(share * height)
    left = min(max(round(x + across / 2 - columns / 2), 0), width - columns)
    top = min(max(round(y + down / 2 - rows / 2), 0), height - rows)
    return left, top, left + columns, top + rows


def has_proportions(width: int, height: int, canvas: Canvas, unit: int) -> bool:
    """Whether a picture's sides are to one another as the canvas's.

    Up to what is lost where sides are rounded to multiples of `unit`.
    """
    scale = _scale(width, height, canvas)
    return min(abs(scale * width - canvas.width), abs(scale * height - canvas.height)) < unit / 2


def drawing_size(window: Window, canvas: Canvas, unit: int, like_canvas: bool) -> tuple[int, int]:
    """Width and height in which a window is drawn, multiples of `unit`: as many pixels as the canvas has.

    `like_canvas`: the canvas's own size, for a picture that has its proportions; else the window's own
    proportions are kept.
    """
    left, top, right, bottom = window
    across, down = right - left, bottom - top
    scale = _scale(across, down, canvas)
    width, height = (canvas.width, canvas.height) if like_canvas else (scale * across, scale * down)
    return _rounded(width, unit), _rounded(height, unit)


def _scale(width: int, height: int, canvas: Canvas) -> float:
    """The factor that gives a rectangle the canvas's number of pixels."""
    return math.sqrt(canvas.width * canvas.height / (width * height))


def _rounded(side: float, unit: int) -> int:
    return max(1, round(side / unit)) * unit
