"""T2I-CompBench's scores of spatial relations, in the plane and in depth, from what a detector found.

Boxes are in pixels of a picture whose sides are at most 480, as the official detector gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from .boxes import PixelBox, overlap
from .prompt_objects import RELATIONS_3D, Objects

SHORTER_SIDE, LONGER_SIDE = 479, 480
CONFIDENCE = 0.5
# Pixels apart up to which two things are next to each other.
_NEAR = 150
# Boxes that overlap by more are not simply beside each other.
_BESIDE = 0.1
_COVERED = 0.5
_LEAST = 0.5
_NEXT_TO = ("on side of", "next to", "near")


class Found(NamedTuple):
    """One detection: its label, box in pixels and confidence; detections come best first."""

    label: str
    box: PixelBox
    confidence: float


def score_2d(objects: Objects, found: Sequence[Found]) -> float:
    """0 to 1: a quarter for each object's confidence and a half for the relation; below a half it is 0.

    An object is found if its word equals a label; its most confident detection counts.
    """
    first, second = (_named(word, found) for word in (objects.first, objects.second))
    total = _total(first, second, relation_2d(objects.relation, first, second))
    return total if total >= _LEAST else 0.0


def score_3d(objects: Objects, found: Sequence[Found], depth: NDArray[Any]) -> float:
    """As `score_2d` without a least, objects by words in labels; `depth` is larger where it is nearer.

    Its two axes are read in the order x, y, as the official scorer does although the first one holds rows.
    """
    first, second = _containing(objects, found)
    return _total(first, second, relation_3d(objects.relation, first, second, depth))


def relation_2d(relation: str | None, first: Found | None, second: Found | None) -> float:
    """How well two boxes stand in a relation of the plane, 0 to 1."""
    if relation is None or first is None or second is None:
        return 0.0
    across, down = _offset(first.box, second.box)
    if relation in _NEXT_TO:
        if abs(across) < _NEAR or abs(down) < _NEAR:
            return 1.0
        return _NEAR / max(abs(across), abs(down))
    holds = {
        "on the left of": across > 0 and abs(across) > abs(down),
        "on the right of": across < 0 and abs(across) > abs(down),
        "on the top of": down > 0 and abs(down) > abs(across),
        "on the bottom of": down < 0 and abs(down) > abs(across),
    }
    if not holds.get(relation, False):
        return 0.0
    shared = overlap(first.box, second.box)
    return 1.0 if shared < _BESIDE else _BESIDE / shared


def relation_3d(
    relation: str | None, first: Found | None, second: Found | None, depth: NDArray[Any]
) -> float:
    """How well two boxes stand in a relation of depth, 0 to 1; relations of the plane as `relation_2d`."""
    if relation is None or first is None or second is None:
        return 0.0
    if relation not in RELATIONS_3D:
        return relation_2d(relation, first, second)
    nearer = _mean_depth(depth, first.box) - _mean_depth(depth, second.box)
    # Not a number, from an empty cut, is neither.
    if not (nearer > 0 if relation == "in front of" else nearer < 0):
        return 0.0
    shared = overlap(first.box, second.box)
    if shared > _COVERED:
        return 1.0
    # Exactly a half is left out by the official scorer.
    return shared / _COVERED if 0 < shared < _COVERED else 0.0


def _total(first: Found | None, second: Found | None, relation: float) -> float:
    if first is not None and second is not None:
        return 0.25 * first.confidence + 0.25 * second.confidence + 0.5 * relation
    alone = first or second
    return 0.25 * alone.confidence if alone is not None else 0.0


def _named(word: str | None, found: Sequence[Found]) -> Found | None:
    return next((one for one in found if one.label == word), None)


def _containing(objects: Objects, found: Sequence[Found]) -> tuple[Found | None, Found | None]:
    """The detections of two words: the last before both are known, or the first of one alone."""
    words = objects.first, objects.second
    labels = " ".join(one.label for one in found)
    known = [word is not None and word in labels for word in words]
    if not all(known):
        firsts = [
            next((one for one in found if word in one.label), None) if here and word else None
            for word, here in zip(words, known, strict=True)
        ]
        return firsts[0], firsts[1]
    chosen: list[Found | None] = [None, None]
    for one in found:
        for index, word in enumerate(words):
            if word is not None and word in one.label:
                chosen[index] = one
        if None not in chosen:
            break
    return chosen[0], chosen[1]


def _offset(a: PixelBox, b: PixelBox) -> tuple[float, float]:
    """From the centre of one box to that of another, to the right and down."""
    return (b[0] + b[2]) / 2 - (a[0] + a[2]) / 2, (b[1] + b[3]) / 2 - (a[1] + a[3]) / 2


def _mean_depth(depth: NDArray[Any], box: PixelBox) -> float:
    x0, y0, x1, y1 = (int(value) for value in box)
    cut = depth[x0:x1, y0:y1]
    return float(cut.mean()) if cut.size else float("nan")
