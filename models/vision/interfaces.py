"""What annotation asks of its models. Anything with these methods will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL.Image import Image

from ...layout import Box


class ModelError(ValueError):
    """A model that is not there, or cannot do what it is named for."""


@dataclass(frozen=True)
class Detection:
    """Where a word was found, in fractions of the picture, and how surely, 0 to 1."""

    word: str
    box: Box
    score: float


class Detector(Protocol):
    """Finds words in pictures."""

    def detect(self, pictures: Sequence[Image], words: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """What was found of each picture's own words, in any order; nothing for a picture without words."""
        ...


class Captioner(Protocol):
    """Says what pictures show."""

    def caption_pictures(self, pictures: Sequence[Image]) -> list[str]:
        """A caption for each whole picture."""
        ...

    def caption_instances(self, crops: Sequence[Image], words: Sequence[str]) -> list[str]:
        """A caption for each thing, cut out of its picture; `words` are what they were found as."""
        ...
