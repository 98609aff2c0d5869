"""What of a layout a format cannot hold: said before anybody misses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..document import Layout
from ..instance import Canvas, Instance
from ..mask import RunLength
from ..messages import say
from . import exports, flux3, ideogram, omost
from .shared import exported, metadata_of, on_canvas

# In plain words; `locales/*/main.json` holds the editor's for the same names.
WORDS: Mapping[str, str] = {
    "prompt": "the prompt",
    "negative": "the negative prompt",
    "canvas": "the canvas size",
    "disabled": "disabled instances",
    "ids": "ids",
    "negatives": "negatives of instances",
    "masks": "masks (their boxes are written)",
    "strengths": "strengths",
    "ranges": "parts of the run",
    "colors": "colours",
    "locks": "locks",
    "extras": "keys of other programs",
    "rounding": "exact boxes (they are rounded)",
    "shape_pixels": "edges of painted shapes (they follow the pixels of the picture)",
    "breaks": "line breaks and blanks around texts",
    "boxes": "boxes (places are told in words)",
}
Grid = Callable[[Canvas], tuple[int, int]]


@dataclass(frozen=True)
class Kept:
    """What a format holds beside captions, boxes and their order.

    `grid` is that of which boxes are whole cells, `extra` names keys of other programs that come back,
    `no_color` is the colour that stands for none, `most_colors` the length of a palette; with `pixel_masks`
    painted shapes have the canvas's pixels.
    """

    names: frozenset[str] = frozenset()
    grid: Grid | None = None
    extra: frozenset[str] = frozenset()
    no_color: str | None = None
    most_colors: int | None = None
    pixel_masks: bool = False


def _kept(names: str, grid: Grid | None = None, *extra: str, **further: Any) -> Kept:
    return Kept(frozenset(names.split()), grid, frozenset(extra), **further)


KEPT = {
    "layout": Kept(frozenset(WORDS)),
    "coco": _kept("prompt canvas masks breaks", pixel_masks=True),
    "ifadapter": _kept("prompt breaks"),
    "omost": _kept("prompt colors breaks", lambda canvas: (omost.GRID, omost.GRID), no_color=omost.NO_COLOR),
    "ideogram": _kept(
        "prompt colors breaks",
        lambda canvas: (ideogram.GRID, ideogram.GRID),
        "metadata",
        most_colors=ideogram.MOST_COLORS,
    ),
    "flux3": _kept("prompt", lambda canvas: (flux3.GRID, flux3.GRID)),
    "bounding-boxes": _kept("colors breaks", lambda canvas: (canvas.width, canvas.height), "metadata"),
    "llm": _kept("prompt negative canvas breaks"),
    "lines": _kept("prompt negative canvas"),
    "fibo2": _kept("prompt breaks"),
    "qwen": _kept("breaks", lambda canvas: (exports.GRID, exports.GRID)),
}
# Formats that do not have boxes at all.
_BOXLESS = ("fibo2",)


def lost(layout: Layout, name: str) -> tuple[str, ...]:
    """Names (keys of `WORDS`) of what is in a layout and not in what a format makes of it."""
    kept = KEPT[name]
    items = exported(layout)
    missed = {
        *_of_layout(layout),
        *(name for item in items for name in _of_instance(item, kept)),
    } - kept.names
    if kept.grid and any(_is_rounded(item, kept.grid(layout.canvas)) for item in items):
        missed.add("rounding")
    if kept.pixel_masks and any(_is_painted_otherwise(item, layout.canvas) for item in items):
        missed.add("shape_pixels")
    if name in _BOXLESS and items:
        missed.add("boxes")
    if kept.no_color and any(item.color == kept.no_color for item in items):
        missed.add("colors")
    if kept.most_colors and any(len(metadata_of(item)["palette"]) > kept.most_colors for item in items):
        missed.add("colors")
    return tuple(name for name in WORDS if name in missed)


def lost_line(name: str, names: tuple[str, ...]) -> str:
    """One line for people."""
    return say("not_kept", {"format": name, "names": ", ".join(WORDS[one] for one in names)})


def _of_layout(layout: Layout) -> Iterator[str]:
    texts = [layout.prompt, layout.negative, *(item.caption for item in exported(layout))]
    items = exported(layout)
    yield "canvas"
    yield from (name for name in ("prompt", "negative") if getattr(layout, name))
    if len(items) < len(layout.instances):
        yield "disabled"
    if any(item.id != str(number) for number, item in enumerate(items, 1)):
        yield "ids"
    if layout.extra or layout.canvas.extra:
        yield "extras"
    if any(text != " ".join(text.strip().splitlines()) for text in texts):
        yield "breaks"


def _of_instance(item: Instance, kept: Kept) -> Iterator[str]:
    if item.negative:
        yield "negatives"
    if item.mask is not None:
        yield "masks"
    if item.strength != 1.0:
        yield "strengths"
    if (item.start, item.end) != (0.0, 1.0):
        yield "ranges"
    if item.color is not None:
        yield "colors"
    if item.locked:
        yield "locks"
    if set(item.extra) - kept.extra:
        yield "extras"


def _is_rounded(item: Instance, grid: tuple[int, int]) -> bool:
    box = on_canvas(item.bounds)
    cells = (value * side for value, side in zip(box, (*grid, *grid), strict=True))
    return box != item.bounds or any(abs(cell - round(cell)) > 1e-6 for cell in cells)


def _is_painted_otherwise(item: Instance, canvas: Canvas) -> bool:
    """Whether a shape has other pixels than the canvas; whole blocks of the canvas's are the same shape."""
    if not isinstance(item.mask, RunLength):
        return False
    height, width = item.mask.size
    return bool(canvas.height % height or canvas.width % width)
