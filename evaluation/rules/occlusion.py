"""Scores of layouts whose boxes overlap: is each thing in its box, and the right one in front.

The two overlaps are those of OverLayBench (arXiv 2509.19282): mIoU over all instances, O-mIoU over what pairs
of boxes share. Who is in front is read off a map of depth; that rule is ours and compares with itself alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .boxes import PixelBox, area, common_box, intersection, overlap

Depth = NDArray[Any]
# Share of the smaller box that a pair has in common, for its order to be told.
_DEEP = 0.2
_NEAR = 0.9


class Pair(NamedTuple):
    """Two instances whose boxes overlap, by index: the one in front is the later."""

    behind: int
    front: int


def pairs(boxes: Sequence[PixelBox]) -> list[Pair]:
    """Every two boxes that share an area, in the order of the layout, the last one in front."""
    numbers = combinations(range(len(boxes)), 2)
    return [Pair(a, b) for a, b in numbers if common_box(boxes[a], boxes[b]) is not None]


def shared_overlap(
    targets: tuple[PixelBox, PixelBox], found: tuple[PixelBox | None, PixelBox | None]
) -> float:
    """The overlap of what two found boxes share with what they are to share; 0 if one is not found."""
    wanted = common_box(*targets)
    if wanted is None or found[0] is None or found[1] is None:
        return 0.0
    shared = common_box(found[0], found[1])
    return 0.0 if shared is None else overlap(wanted, shared)


def deep_pairs(boxes: Sequence[PixelBox]) -> list[Pair]:
    """The pairs whose boxes share so much of the smaller one that one thing does cover the other."""
    return [
        pair
        for pair in pairs(boxes)
        if intersection(boxes[pair.behind], boxes[pair.front])
        >= _DEEP * min(area(boxes[pair.behind]), area(boxes[pair.front]))
    ]


def nearness(depth: Depth, box: PixelBox, other: PixelBox) -> float | None:
    """How near a thing is, by a map (h, w) that is larger where it is nearer.

    The map's value that a tenth of the box exceeds, without what it shares with the other box: a thing is
    nearer than the background its box holds besides. None where nothing of the box is left.
    """
    own = np.zeros(depth.shape, dtype=bool)
    own[_inside(box)] = True
    shared = common_box(box, other)
    if shared is not None:
        own[_inside(shared)] = False
    return float(np.quantile(depth[own], _NEAR)) if own.any() else None


def _inside(box: PixelBox) -> tuple[slice, slice]:
    columns, rows = (slice(max(0, math.floor(box[n])), max(0, math.ceil(box[n + 2]))) for n in (0, 1))
    return rows, columns
