"""Window around a region: the part of a picture that is looked at while the region is drawn again."""

from __future__ import annotations

from ...layout import Box

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
