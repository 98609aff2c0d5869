"""IFG's scores (IFAdapter, arXiv 2409.08240 section 4.2): is each instance in its box with its features.

The paper's code is not published; this is our reading of its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .boxes import PixelBox, overlap

_LOCATED = 0.5
QUESTION = (
    "Does this picture show: {phrase}? Check the object, its colours, material and pattern. Answer yes or no."
)


class Target(NamedTuple):
    """An instance that was asked for: its phrase and its box in pixels."""

    phrase: str
    box: PixelBox


class Seen(NamedTuple):
    """A detection of a phrase."""

    phrase: str
    box: PixelBox
    score: float


class Located(NamedTuple):
    """The best overlap of a detection with an instance, and the detection's index if it is located."""

    best: float
    detection: int | None


def locate(targets: Sequence[Target], seen: Sequence[Seen]) -> list[Located]:
    """For each instance the detection of its phrase that stands for it.

    Each detection belongs to the instance of its own phrase that it overlaps most; each instance keeps the
    best of its detections, and is located from an overlap of a half.
    """
    best: list[tuple[float, int | None]] = [(0.0, None)] * len(targets)
    for number, one in enumerate(seen):
        own = [index for index, target in enumerate(targets) if target.phrase == one.phrase]
        if not own:
            continue
        index = max(own, key=lambda index: overlap(targets[index].box, one.box))
        shared = overlap(targets[index].box, one.box)
        if shared > best[index][0]:
            best[index] = shared, number
    return [Located(value, number if value >= _LOCATED else None) for value, number in best]


def is_yes(answer: str) -> bool:
    """Whether an answer begins with yes, in any case."""
    return answer.strip().lower().startswith("yes")


def queries(targets: Sequence[Target], seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """What average precision is measured on, one for each phrase: see `statistics.average_precision`."""
    found: list[dict[str, Any]] = []
    for phrase in dict.fromkeys(target.phrase for target in targets):
        own = [target for target in targets if target.phrase == phrase]
        detections = [
            {"score": one.score, "overlaps": [overlap(target.box, one.box) for target in own]}
            for one in seen
            if one.phrase == phrase
        ]
        found.append({"instances": own, "detections": detections})
    return found
