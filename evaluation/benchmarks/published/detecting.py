"""Detections as findings: phrases looked for one by one, boxes in pixels of the scorer's frame."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from ....layout import Box
from ....models.vision.interfaces import Detection, Detector

# Decimal digits of pixels that are kept.
_DIGITS = 6
Boxes = list[list[float]]


def detect_alone(
    detector: Detector, pictures: Sequence[Image], phrases: Sequence[Sequence[str]]
) -> list[dict[str, list[Detection]]]:
    """Detections of each picture's phrases, each looked for alone: words beside it change what is found.

    By phrase, best first.
    """
    tasks = [(index, phrase) for index, own in enumerate(phrases) for phrase in dict.fromkeys(own)]
    seen = detector.detect([pictures[index] for index, _ in tasks], [[phrase] for _, phrase in tasks])
    found: list[dict[str, list[Detection]]] = [{} for _ in pictures]
    for (index, phrase), own in zip(tasks, seen, strict=True):
        found[index][phrase] = sorted(own, key=lambda one: -one.score)
    return found


def pixels(box: Box, width: float, height: float) -> list[float]:
    """Left, top, right, bottom in pixels of a picture of that size."""
    sides = (width, height, width, height)
    return [round(value * side, _DIGITS) for value, side in zip(box, sides, strict=True)]


def with_scores(found: Sequence[Detection], width: float, height: float) -> Boxes:
    """Each detection as left, top, right, bottom in pixels, and score."""
    return [[*pixels(one.box, width, height), round(one.score, 5)] for one in found]
