"""Scores of layouts whose boxes overlap: is each thing in its box, and the right one in front.

The two overlaps are those of OverLayBench (arXiv 2509.19282): mIoU over all instances, O-mIoU over what pairs
of boxes share. Who is in front is read off masks, which is ours; its numbers compare with this harness alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .boxes import PixelBox, common_box, overlap

Mask = NDArray[np.bool_]


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


def front_share(behind: Mask, front: Mask, box: PixelBox) -> float | None:
    """Of the pixels inside a box that either mask (h, w) holds, the share of the front one.

    A pixel that both hold counts half. None where neither has any: nothing can be told.
    """
    columns, rows = (slice(max(0, math.floor(box[n])), math.ceil(box[n + 2])) for n in (0, 1))
    one, other = behind[rows, columns], front[rows, columns]
    held = int((one | other).sum())
    return None if held == 0 else float((other & ~one).sum() + 0.5 * (one & other).sum()) / held
