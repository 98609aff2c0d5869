"""Models by which published benchmarks measure, each loaded when its stage begins."""

from __future__ import annotations

from typing import Protocol

from ...models.vision.checklist import ANSWER_TOKENS
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

    def phrase_detector(self, threshold: float) -> Detector:
        """Finds phrases that are looked for alone, wherever any of their tokens exceeds the threshold."""
        ...

    def segmenter(self) -> BoxSegmenter:
        """Finds pixels in boxes."""
        ...

    def judge(self, longest: int = ANSWER_TOKENS) -> QuestionAnswerer:
        """Answers questions, in up to so many tokens."""
        ...

    def yes_scorer(self) -> YesScorer:
        """Weighs yes against no."""
        ...

    def similarity(self, cut: bool = False) -> TextSimilarity:
        """Compares pictures with texts, of which the end is `cut` off if they are too long."""
        ...

    def depth(self) -> DepthEstimator:
        """Estimates depth."""
        ...
