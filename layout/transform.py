"""Layouts from layouts. Every change of place is a new window over the old canvas, so masks always follow.

What leaves the canvas is dropped, what leaves it partly is clipped. Every function takes usable layouts and
raises LayoutError for others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count, pairwise

from .box import WHOLE, Box
from .document import Layout
from .instance import Canvas, Instance
from .mask import MOST_POINTS, Mask, Polygon, RunLength
from .problems import fault
from .validation import LARGEST_CANVAS, SMALLEST_CANVAS

Point = tuple[float, float]
# Sides of the run-lengths that take the place of a polygon of too many points.
FINE = 1024


def combine(*layouts: Layout) -> Layout:
    """All instances on the canvas of the first layout, those of later layouts in front.

    Boxes stay the same fractions of the canvas. An id that is taken gets the first free suffix "-2", "-3", …
    Prompts and negatives that differ are joined by ", "; other programs' keys of the first layout win.
    """
    if not layouts:
        raise fault("nothing_to_combine")
    taken = {item.id for layout in layouts for item in layout.checked().instances}
    seen: set[str] = set()
    instances = []
    for item in (item for layout in layouts for item in layout.instances):
        instances.append(item if item.id not in seen else replace(item, id=_free(item.id, taken)))
        seen.add(item.id)
        taken.add(instances[-1].id)
    extra = {key: value for layout in reversed(layouts) for key, value in layout.extra.items()}
    prompt, negative = (_join(getattr(item, name) for item in layouts) for name in ("prompt", "negative"))
    return Layout(tuple(instances), layouts[0].canvas, prompt, negative, extra)


def mirror_horizontally(layout: Layout) -> Layout:
    """Left becomes right."""
    return _through(layout, Box(1.0, 0.0, 0.0, 1.0))


def mirror_vertically(layout: Layout) -> Layout:
    """Top becomes bottom."""
    return _through(layout, Box(0.0, 1.0, 1.0, 0.0))


def crop(layout: Layout, rectangle: Box) -> Layout:
    """The part of the canvas in a rectangle (fractions of the old canvas), as a canvas of its own."""
    inside = rectangle.clipped() if rectangle.is_finite() else None
    if inside is None or inside != rectangle:
        raise fault("crop_off", value=str(list(rectangle)))
    width, height = (
        round(fraction * pixels)
        for fraction, pixels in ((inside.width, layout.canvas.width), (inside.height, layout.canvas.height))
    )
    return _through(layout, inside, _canvas(layout, width, height))


def move(layout: Layout, right: float, down: float) -> Layout:
    """Everything moved by fractions of the canvas; negative is left or up."""
    return _through(layout, _moved(right, down))


def scale(
    layout: Layout, horizontal: float, vertical: float | None = None, center: Point = (0.5, 0.5)
) -> Layout:
    """Everything made larger (above 1) or smaller about a point that stays; one factor serves both ways."""
    return _through(layout, _scaled(horizontal, horizontal if vertical is None else vertical, center))


def scale_and_move(layout: Layout, factor: float, right: float, down: float) -> Layout:
    """Scaled about the centre, then moved; what the one takes off the canvas the other may bring back."""
    first, then = _scaled(factor, factor, (0.5, 0.5)), _moved(right, down)
    (x0, x1), (y0, y1) = (
        [start + share * (end - start) for share in shares]
        for start, end, shares in (
            (first.x0, first.x1, (then.x0, then.x1)),
            (first.y0, first.y1, (then.y0, then.y1)),
        )
    )
    return _through(layout, Box(x0, y0, x1, y1))


def _moved(right: float, down: float) -> Box:
    """The window through which everything lies farther right and down."""
    if not all(abs(distance) <= 1.0 for distance in (right, down)):
        raise fault("move_far", right=right, down=down)
    return Box(-right, -down, 1.0 - right, 1.0 - down)


def _scaled(horizontal: float, vertical: float, center: Point) -> Box:
    """The window through which everything is larger."""
    factors = (horizontal, vertical)
    if not all(0.01 <= factor <= 100 for factor in factors):
        raise fault("scale_range", horizontal=factors[0], vertical=factors[1])
    (x0, x1), (y0, y1) = (
        (middle - middle / factor, middle + (1.0 - middle) / factor)
        for middle, factor in zip(center, factors, strict=True)
    )
    return Box(x0, y0, x1, y1)


def resize_canvas(layout: Layout, width: int, height: int, *, keep_pixels: bool = False) -> Layout:
    """The canvas in another size; boxes keep their fractions, or else their pixels from the top left."""
    canvas = _canvas(layout, width, height)
    window = Box(0.0, 0.0, width / layout.canvas.width, height / layout.canvas.height)
    return _through(layout, window if keep_pixels else WHOLE, canvas)


def _canvas(layout: Layout, width: int, height: int) -> Canvas:
    if not all(SMALLEST_CANVAS <= side <= LARGEST_CANVAS for side in (width, height)):
        raise fault("canvas_range", width=width, height=height, low=SMALLEST_CANVAS, high=LARGEST_CANVAS)
    return replace(layout.canvas, width=width, height=height)


def _join(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text.strip()))


def _free(identifier: str, taken: set[str]) -> str:
    return next(name for number in count(2) if (name := f"{identifier}-{number}") not in taken)


def _through(layout: Layout, window: Box, canvas: Canvas | None = None) -> Layout:
    """The layout as seen through a window (fractions of the old canvas; x0 > x1 mirrors)."""
    instances = (_instance_through(item, window) for item in layout.checked().instances)
    kept = tuple(item for item in instances if item is not None)
    return replace(layout, instances=kept, canvas=canvas or layout.canvas)


def _instance_through(item: Instance, window: Box) -> Instance | None:
    xs, ys = (
        sorted(_place(value, *edges) for value in values)
        for values, edges in (
            ((item.box.x0, item.box.x1), (window.x0, window.x1)),
            ((item.box.y0, item.box.y1), (window.y0, window.y1)),
        )
    )
    box = Box(xs[0], ys[0], xs[1], ys[1]).clipped()
    if item.mask is None:
        return None if box is None else replace(item, box=box)
    mask = _mask_through(item.mask, window)
    bounds = None if mask.is_empty else mask.bounds.clipped()
    return None if bounds is None else replace(item, box=box or bounds, mask=mask)


def _place(value: float, start: float, end: float) -> float:
    return (value - start) / (end - start)


def _mask_through(mask: Mask, window: Box) -> Mask:
    if not isinstance(mask, Polygon):
        return mask.seen_through(window)
    points = [(_place(x, window.x0, window.x1), _place(y, window.y0, window.y1)) for x, y in mask.points]
    for axis in (0, 1):
        for edge, sign in ((0.0, 1.0), (1.0, -1.0)):
            points = _clip(points, axis, edge, sign)
    clipped = Polygon(tuple(points))
    if len(points) <= MOST_POINTS:
        return clipped
    # Every spike that is cut off leaves two points for its one.
    return RunLength.from_raster(clipped.raster(FINE, FINE), FINE, FINE)


def _clip(points: list[Point], axis: int, edge: float, sign: float) -> list[Point]:
    """Cut off what lies beyond an edge of the canvas (Sutherland and Hodgman 1974).

    What is cut collapses onto the edge, which leaves the even-odd inside as it is.
    """
    kept: list[Point] = []
    for one, other in pairwise((*points, *points[:1])):
        before, after = (sign * (point[axis] - edge) for point in (one, other))
        if before >= 0:
            kept.append(one)
        if before * after < 0:
            share = before / (before - after)
            crossing = [a + share * (b - a) for a, b in zip(one, other, strict=True)]
            crossing[axis] = edge
            kept.append((crossing[0], crossing[1]))
    return kept
