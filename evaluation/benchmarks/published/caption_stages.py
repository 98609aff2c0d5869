"""Stages of benchmarks on layouts: boxes of the captions of instances, likeness to the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ....models.vision.interfaces import Detection
from ...harness.measuring import Item, Measure, Stage
from ...scorers.models import Models
from .detecting import detect_alone

# For boxes and for words, as CoMat's released code has them and training here.
BOX_THRESHOLD, TEXT_THRESHOLD = 0.3, 0.25

# What is kept of the detections of an item's captions, each by its caption, best first.
Kept = Callable[[Item, Mapping[str, Sequence[Detection]]], Any]


def boxes_stage(models: Models, kept: Kept) -> Stage:
    """Every caption of a layout looked for alone, under "boxes"."""

    def load() -> Measure:
        detector = models.detector(BOX_THRESHOLD, TEXT_THRESHOLD)

        def boxes(items: Sequence[Item]) -> list[Any]:
            captions = [[one.caption for one in item.case.layout.active] for item in items]
            found = detect_alone(detector, [item.picture for item in items], captions)
            return [kept(item, own) for item, own in zip(items, found, strict=True)]

        return boxes

    return Stage("boxes", load)


def similarity_stage(models: Models) -> Stage:
    """CLIP's cosine of picture and caption, of which the end is cut off if it is too long."""

    def load() -> Measure:
        similarity = models.similarity(cut=True)
        return lambda items: [
            round(value, 6)
            for value in similarity.similarities(
                [item.picture for item in items], [item.case.layout.prompt for item in items]
            )
        ]

    return Stage("clip", load, lambda case, found: bool(case.layout.prompt.strip()))
