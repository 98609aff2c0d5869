"""The selection of instances among the boxes that a detector found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..layout import Box
from ..models.vision.interfaces import Detection


@dataclass(frozen=True)
class Limits:
    """Limits for the instances of a picture.

    `most` instances of at least the share `smallest` of the picture, as in IFAdapter's data (arXiv
    2409.08240). Of two boxes whose intersection over union is above `overlap` the surer one stays, whatever
    their words: the same thing found as "dog" and as "puppy" is one thing.
    """

    most: int = 10
    smallest: float = 0.01
    overlap: float = 0.5


def select(detections: Iterable[Detection], limits: Limits) -> list[Detection]:
    """The surest detections within the limits, clipped to the picture.

    The largest come first, so that as a stack the smaller things are in front.
    """
    inside = (
        Detection(one.word, box, one.score)
        for one in detections
        if one.box.is_finite() and (box := one.box.clipped()) is not None and box.area >= limits.smallest
    )
    chosen: list[Detection] = []
    for one in sorted(inside, key=lambda one: -one.score):
        if len(chosen) == limits.most:
            break
        if all(intersection_over_union(one.box, other.box) <= limits.overlap for other in chosen):
            chosen.append(one)
    return sorted(chosen, key=lambda one: (-one.box.area, one.box.x0, one.box.y0))


def intersection_over_union(one: Box, other: Box) -> float:
    """The share that two boxes have in common, 0 to 1."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    common = max(0.0, width) * max(0.0, height)
    return common / (one.area + other.area - common)
