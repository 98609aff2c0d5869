"""OverLayBench's own measures (arXiv 2509.19282): a judge's boxes, and its yes to things and relations.

As the authors' meter counts: answers are JSON, and what is none counts as no answer at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .boxes import PixelBox, overlap
from .occlusion import shared_overlap

# Boxes of the benchmark are in pixels of a picture of this side.
SIDE = 1024
_FENCED = re.compile(r"```json\s*(.+?)\s*```", re.DOTALL)
_CORNERS = 4


def read_answer(text: str) -> dict[str, Any]:
    """The object in an answer, fenced as JSON or alone; empty where there is none."""
    fenced = _FENCED.search(text)
    try:
        found = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_boxes(answer: Mapping[str, Any], size: tuple[float, float]) -> dict[str, list[PixelBox]]:
    """Boxes by category, in whole pixels of 1024 × 1024, of an answer in pixels of a picture of that size."""
    found: dict[str, list[PixelBox]] = {}
    for category, boxes in answer.items():
        given = boxes if isinstance(boxes, list) else []
        read = [_whole_box(one, size) for one in given]
        found[category] = [one for one in read if one is not None]
    return found


def matched(
    targets: Sequence[PixelBox], categories: Sequence[str], seen: Mapping[str, Sequence[PixelBox]]
) -> list[PixelBox | None]:
    """For each target the box of its category that is its own: the best pair first, each box once."""
    found: list[PixelBox | None] = [None] * len(targets)
    for category in dict.fromkeys(categories):
        own = [index for index, one in enumerate(categories) if one == category]
        boxes = seen.get(category, ())
        pairs = [
            (overlap(targets[index], box), index, place) for index in own for place, box in enumerate(boxes)
        ]
        taken: set[int] = set()
        for _, index, place in sorted(pairs, key=lambda pair: -pair[0]):
            if found[index] is None and place not in taken:
                found[index] = boxes[place]
                taken.add(place)
    return found


def overlaps(targets: Sequence[PixelBox], found: Sequence[PixelBox | None]) -> list[float]:
    """The overlap of each target with its box, 0 without one."""
    return [overlap(target, box) if box else 0.0 for target, box in zip(targets, found, strict=True)]


def shared_overlaps(
    targets: Sequence[PixelBox], found: Sequence[PixelBox | None], pairs: Iterable[tuple[int, int]]
) -> list[float]:
    """For each pair of targets the overlap of what they share with what their boxes share."""
    return [shared_overlap((targets[a], targets[b]), (found[a], found[b])) for a, b in pairs]


def confirmed(answer: Mapping[str, Any], names: Iterable[str]) -> list[bool]:
    """Whether the answer says yes to each name, in any case."""
    said = [answer.get(name) for name in names]
    return [isinstance(one, str) and one.lower() == "yes" for one in said]


def _whole_box(box: Any, size: tuple[float, float]) -> PixelBox | None:
    if not isinstance(box, list) or len(box) != _CORNERS:
        return None
    try:
        return [int(float(value) * SIDE / side) for value, side in zip(box, (*size, *size), strict=True)]
    except (TypeError, ValueError, OverflowError):
        return None
