"""Protocols of the models that look at pictures: detectors, captioners and segmenters.

Code that uses such a model names a protocol and never a class: annotation takes any `Detector` and any
`Captioner`, and `instance-composer annotate` chooses which classes it hands over. A model joins as a class,
in a file beside this one, that has the methods of a protocol and raises `ModelError` for what cannot be
loaded. Another question to a picture is another protocol here. A model that gives one number for a picture
and a prompt is a reward; see `models/rewards`, where both come as tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL.Image import Image
from torch import Tensor

from ...layout import Box


class ModelError(ValueError):
    """A model that is not there, or cannot do what it is named for."""


@dataclass(frozen=True)
class Detection:
    """A word with the box in which it was found, in fractions of the picture, and a score in 0..1."""

    word: str
    box: Box
    score: float


class Detector(Protocol):
    """Finds words in pictures."""

    def detect(self, pictures: Sequence[Image], words: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Detections of each picture's own words, in any order; none for a picture without words."""
        ...


class Captioner(Protocol):
    """Says what pictures show."""

    def caption_pictures(self, pictures: Sequence[Image]) -> list[str]:
        """A caption for each whole picture."""
        ...

    def caption_instances(self, crops: Sequence[Image], words: Sequence[str]) -> list[str]:
        """A caption for each thing, cut out of its picture; `words` are what they were found as."""
        ...


class Tagger(Protocol):
    """Says in single words what is in pictures."""

    def tag(self, pictures: Sequence[Image]) -> list[tuple[str, ...]]:
        """The tags of each picture, the likeliest first."""
        ...


class QuestionAnswerer(Protocol):
    """Answers questions about pictures in words."""

    def answer(self, pictures: Sequence[Image], questions: Sequence[str]) -> list[str]:
        """An answer to each picture's own question."""
        ...


class YesScorer(Protocol):
    """Says how surely the answer to a question about a picture is yes and not no."""

    def yes(self, pictures: Sequence[Image], questions: Sequence[str]) -> list[float]:
        """A probability for each picture's own question."""
        ...


class TextSimilarity(Protocol):
    """Says how well texts fit pictures."""

    def similarities(self, pictures: Sequence[Image], texts: Sequence[str]) -> list[float]:
        """The cosine of each picture and its own text."""
        ...


class BoxSegmenter(Protocol):
    """Finds the pixels of what is in a box."""

    def segment(self, picture: Image, boxes: Sequence[Box]) -> Tensor:
        """A mask for each box (N, h, w), bools at the picture's size."""
        ...


class DepthEstimator(Protocol):
    """Says how near what a picture shows is."""

    def depths(self, pictures: Sequence[Image], side: int | None = None) -> list[Tensor]:
        """For each picture (h, w), 0 where it is farthest and 1 where it is nearest.

        A `side` asks for a look at so many pixels squared, of models that can do that.
        """
        ...


class Segmenter(Protocol):
    """Finds the pixels of nouns in pictures that are tensors, as training has them."""

    def masks(self, pictures: Tensor, nouns: Sequence[Sequence[str]]) -> list[Tensor | None]:
        """For each of the pictures (B, 3, H, W), 0 to 1, a mask (E, H, W) of bools for each of its nouns: all
        that the noun names, nothing where it is not found. None for a picture that tells nothing.
        """
        ...
