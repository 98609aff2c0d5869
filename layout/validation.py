"""Validation of a layout: errors make it unusable, warnings do not."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from .box import HIGHEST, LOWEST, Box
from .instance import Document, Instance
from .mask import Polygon
from .messages import quote
from .problems import Problem, Severity

SMALLEST_CANVAS, LARGEST_CANVAS = 16, 16_384
# Artists' range: 0 adds nothing for an instance, 1 is as trained, above 5 nothing but artefacts grows.
STRONGEST = 5.0
# IFAdapter's training data holds boxes of at least 1 % of the picture and at most ten instances.
SMALLEST_TRAINED_AREA = 0.01
MOST_TRAINED_INSTANCES = 10

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def find_problems(document: Document) -> list[Problem]:
    """Errors and warnings about a layout, in the order of the document."""
    return [*_about_document(document), *(problem for item in document.instances for problem in _about(item))]


def _about_document(document: Document) -> Iterator[Problem]:
    for side in ("width", "height"):
        pixels = getattr(document.canvas, side)
        if not SMALLEST_CANVAS <= pixels <= LARGEST_CANVAS:
            allowed = f"{SMALLEST_CANVAS} to {LARGEST_CANVAS} pixels are allowed"
            yield _layout_problem("error", f"canvas {side}", pixels, "the size cannot be used", allowed)
    for identifier, count in Counter(item.id for item in document.instances).items():
        if count > 1:
            message = f"{count} instances have the id {quote(identifier)}"
            yield _layout_problem("error", "id", identifier, message, "every instance needs an id of its own")
    if not document.active:
        message = "no instance is enabled and has a caption"
        yield _layout_problem(
            "warning", "instances", len(document.instances), message, "nothing will be placed"
        )
    if len(document.active) > MOST_TRAINED_INSTANCES:
        message = "there are more instances than the adapter saw in training"
        allowed = f"up to {MOST_TRAINED_INSTANCES} are placed well"
        yield _layout_problem("warning", "instances", len(document.active), message, allowed)


def _layout_problem(severity: Severity, field: str, value: Any, message: str, allowed: str) -> Problem:
    return Problem(severity, None, "", field, value, message, allowed)


def _about(item: Instance) -> Iterator[Problem]:
    def problem(severity: Severity, field: str, value: Any, message: str, allowed: str) -> Problem:
        return Problem(severity, item.id, item.caption, field, value, message, allowed)

    if not item.id:
        yield problem("error", "id", item.id, "is empty", "every instance needs an id of its own")
    if not item.caption.strip():
        yield problem("warning", "caption", item.caption, "is empty", "the instance is left out of the run")
    for field, highest in (("strength", STRONGEST), ("start", 1.0), ("end", 1.0)):
        value = getattr(item, field)
        if not 0.0 <= value <= highest:
            yield problem("error", field, value, "is out of range", f"0 to {highest:g} is allowed")
    if item.start >= item.end:
        yield problem("error", "start", item.start, "is not before end", f"less than {item.end:g} is allowed")
    if item.color is not None and not _COLOR.fullmatch(item.color):
        yield problem(
            "error", "color", item.color, "is not a colour", 'six digits like "#e69f00" are allowed'
        )
    for severity, message, allowed in _about_box(item.box):
        yield problem(severity, "box", list(item.box), message, allowed)
    if item.mask is not None:
        kind = "polygon" if isinstance(item.mask, Polygon) else "rle"
        for severity, message, allowed in _about_mask(item):
            yield problem(severity, "mask", kind, message, allowed)


Finding = tuple[Severity, str, str]


def _about_box(box: Box) -> Iterator[Finding]:
    fractions = "left < right and top < bottom in fractions of the canvas (0 to 1) are allowed"
    if not box.is_finite():
        yield "error", "holds something that is not a number", fractions
    elif not all(LOWEST <= value <= HIGHEST for value in box):
        yield "error", "is far off the canvas, as if it were in pixels", fractions
    elif box.width <= 0 or box.height <= 0:
        yield "error", _shape_error(box), fractions
    else:
        yield from _about_place(box)


def _shape_error(box: Box) -> str:
    if box.width < 0 and box.height < 0:
        return "is inverted (right before left, bottom above top)"
    if box.width < 0:
        return "is inverted (right before left)"
    if box.height < 0:
        return "is inverted (bottom above top)"
    return "has no area"


def _about_place(box: Box) -> Iterator[Finding]:
    inside = box.clipped()
    if inside is None:
        yield "error", "lies outside the canvas", "0 to 1 is on the canvas"
        return
    if inside != box:
        yield "warning", "lies partly outside the canvas", "the part from 0 to 1 counts"
    if inside.area < SMALLEST_TRAINED_AREA and not math.isclose(inside.area, SMALLEST_TRAINED_AREA):
        yield (
            "warning",
            f"covers {inside.area:.2%} of the canvas",
            f"the adapter was trained on {SMALLEST_TRAINED_AREA:.0%} and more; small things may be missed",
        )


def _about_mask(item: Instance) -> Iterator[Finding]:
    assert item.mask is not None
    if item.mask.fault is not None:
        yield "error", item.mask.fault, "leave the mask out to use the box"
        return
    bounds = item.mask.bounds
    if item.mask.is_empty or bounds.clipped() is None:
        yield "error", "covers nothing of the canvas", "leave the mask out to use the box"
    elif item.box.is_finite() and not _meet(bounds, item.box):
        yield "warning", "lies outside the box of its instance", "the mask counts, not the box"


def _meet(one: Box, other: Box) -> bool:
    return max(one.x0, other.x0) < min(one.x1, other.x1) and max(one.y0, other.y0) < min(one.y1, other.y1)
