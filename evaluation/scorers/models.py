"""Models by which published benchmarks measure, each loaded when its stage begins."""

from __future__ import annotations

from typing import Protocol

from ...models.vision.interfaces import (
    BoxSegmenter,
    DepthEstimator,
    Detector,
    QuestionAnswerer,
    TextSimilarity,
    YesScorer,
)


class Models(Protocol):
    """Where a benchmark gets its models; ValueError says which one is not named or not there."""

    def detector(self, box_threshold: float, text_threshold: float) -> Detector:
        """Finds words, with these thresholds."""
        ...

    def segmenter(self) -> BoxSegmenter:
        """Finds pixels in boxes."""
        ...

    def judge(self) -> QuestionAnswerer:
        """Answers questions."""
        ...

    def yes_scorer(self) -> YesScorer:
        """Weighs yes against no."""
        ...

    def similarity(self) -> TextSimilarity:
        """Compares pictures with texts."""
        ...

    def depth(self) -> DepthEstimator:
        """Estimates depth."""
        ...
