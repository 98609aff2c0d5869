"""The judge of Shapes World in the place of a benchmark's models, for runs in minutes on any machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...layout import Box
from ...models.vision.interfaces import Detection
from ...shapes_world import BACKGROUNDS, COLORS, PATTERNS, SHAPES
from ...shapes_world.judge import Reading, box_overlap, read_background, read_things
from .world_answers import answer as in_json

_WORD = re.compile(r"[a-z]+")
# Colour of what is put around a crop in which no background can be seen.
_AROUND = BACKGROUNDS["grey"]
_LIGHT, _CHROMA = 150, 48
# Words by which a question asks for one property of a thing alone.
_JSON = "Answer with JSON"
_PRESENT = "only the thing itself counts"
_PROPERTIES = {"the colour of": "color", "the texture of": "pattern", "the shape of": "shape"}


class WorldModels:
    """All models of a benchmark; what they are asked is understood by the words of the world in it."""

    def detector(self, box_threshold: float, text_threshold: float) -> WorldDetector:
        """Finds shapes; the judge has no thresholds."""
        return WorldDetector()

    def phrase_detector(self, threshold: float) -> WorldDetector:
        """Finds shapes, as `detector` does."""
        return WorldDetector()

    def segmenter(self) -> WorldSegmenter:
        """Finds the pixels of the thing that a box fits best."""
        return WorldSegmenter()

    def judge(self, longest: int = 0) -> WorldJudge:
        """Says yes or no."""
        return WorldJudge()

    def yes_scorer(self) -> WorldJudge:
        """Says 1 or 0."""
        return WorldJudge()

    def similarity(self, cut: bool = False) -> WorldSimilarity:
        """Compares the shapes of picture and text."""
        return WorldSimilarity()

    def depth(self) -> WorldDepth:
        """Takes things that nothing covers for the near ones."""
        return WorldDepth()


class WorldDetector:
    """A `Detector`: things of a phrase's shape, scored by how well that fits and how much else agrees."""

    def detect(
        self, pictures: Sequence[Image.Image], words: Sequence[Sequence[str]]
    ) -> list[list[Detection]]:
        """Detections of each picture's own words."""
        found: list[list[Detection]] = []
        for picture, own in zip(pictures, words, strict=True):
            things = read_things(np.asarray(picture))
            found.append(
                [
                    Detection(word, thing.box, round(thing.overlap * _likeness(word, thing), 4))
                    for word in own
                    for thing in things
                    if thing.shape in _words(word)
                ]
            )
        return found


class WorldSegmenter:
    """A `BoxSegmenter`: the mask of the thing that overlaps a box most, nothing where none does."""

    def segment(self, picture: Image.Image, boxes: Sequence[Box]) -> Tensor:
        """Masks (N, h, w)."""
        things = read_things(np.asarray(picture))
        masks = np.zeros((len(boxes), picture.height, picture.width), dtype=bool)
        for mask, box in zip(masks, boxes, strict=True):
            best = max(things, key=lambda thing: box_overlap(thing.box, box), default=None)
            if best is not None and box_overlap(best.box, box) > 0:
                mask[:] = best.mask
        return torch.from_numpy(masks)


class WorldDepth:
    """A `DepthEstimator`: what another thing covers fits its shape less well, and counts as farther."""

    def depths(self, pictures: Sequence[Image.Image], side: int | None = None) -> list[Tensor]:
        """Maps (h, w): 0 for the background, for things how well they fit; `side` plays no part."""
        found: list[Tensor] = []
        for picture in pictures:
            depth = np.zeros((picture.height, picture.width), dtype=np.float32)
            for thing in read_things(np.asarray(picture)):
                depth[thing.mask] = thing.overlap
            found.append(torch.from_numpy(depth))
        return found


class WorldJudge:
    """A `QuestionAnswerer` and `YesScorer`: is something there with what the question's words say."""

    def answer(self, pictures: Sequence[Image.Image], questions: Sequence[str]) -> list[str]:
        """Yes or no, or JSON, to each picture's own question; a picture may be the crop of one thing."""
        return [self._answer(*one) for one in zip(pictures, questions, strict=True)]

    def yes(self, pictures: Sequence[Image.Image], questions: Sequence[str]) -> list[float]:
        """1 or 0 for each picture's own question."""
        return [float(self._holds(*one)) for one in zip(pictures, questions, strict=True)]

    def _answer(self, picture: Image.Image, question: str) -> str:
        if _JSON not in question:
            return "Yes" if self._holds(picture, question) else "No"
        things = read_things(np.asarray(picture))
        return in_json(things, picture.size, question, lambda text, thing: Asked(text).matches(thing))

    def _holds(self, picture: Image.Image, question: str) -> bool:
        asked = Asked(question)
        if not asked.looks:
            return asked.background is None or read_background(np.asarray(picture)) == asked.background
        # A thing that fills its crop is told from the background only with some of that around it.
        return any(asked.matches(thing) for thing in read_things(_with_margin(np.asarray(picture))))


class WorldSimilarity:
    """A `TextSimilarity`: the share of a text's shapes that are there, each for one."""

    def similarities(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> list[float]:
        """A share for each picture's own text; 0 for a text that names no shape."""
        return [self._share(np.asarray(picture), text) for picture, text in zip(pictures, texts, strict=True)]

    def _share(self, picture: np.ndarray, text: str) -> float:
        wanted = Counter(word for word in _words(text) if word in SHAPES)
        there = Counter(thing.shape for thing in read_things(picture))
        return (wanted & there).total() / wanted.total() if wanted else 0.0


class Asked:
    """What a question asks of a thing, by the words of the world in it."""

    def __init__(self, question: str) -> None:
        self._question = question.lower()
        self._words = _words(question)
        self.background = next((word for word in self._words if word in BACKGROUNDS), None)

    @cached_property
    def looks(self) -> dict[str, str]:
        """The words for shape, colour and pattern, of the property alone where the question names one.

        A coloured thing without a pattern is plain, as captions of the world leave that word out.
        """
        kinds = {"shape": SHAPES, "color": tuple(COLORS), "pattern": PATTERNS}
        found = {kind: word for kind, known in kinds.items() for word in self._words if word in known}
        if "color" in found:
            found.setdefault("pattern", "plain")
        asked = [kind for words, kind in _PROPERTIES.items() if words in self._question]
        if _PRESENT in self._question:
            asked = ["shape"]
        return {kind: word for kind, word in found.items() if not asked or kind in asked}

    def matches(self, thing: Reading) -> bool:
        """Whether a thing has all of it."""
        return all(getattr(thing, kind) == word for kind, word in self.looks.items())


def _likeness(phrase: str, thing: Reading) -> float:
    """The share of what a phrase says that a thing has."""
    looks = Asked(phrase).looks
    return sum(getattr(thing, kind) == word for kind, word in looks.items()) / len(looks)


def _words(text: str) -> list[str]:
    """The words of a text, plurals of shapes as shapes."""
    found: list[str] = _WORD.findall(text.lower())
    plurals: dict[str, str] = {plural(shape): shape for shape in SHAPES}
    return [plurals.get(word, word) for word in found]


def plural(shape: str) -> str:
    """Two of a shape, in words."""
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def _with_margin(picture: np.ndarray) -> np.ndarray:
    """The picture on a background of its own, half its size wide on each side."""
    height, width = picture.shape[:2]
    high, low = picture.max(axis=-1).astype(int), picture.min(axis=-1).astype(int)
    light = picture[(high >= _LIGHT) & (high - low <= _CHROMA)]
    around = np.empty((2 * height, 2 * width, 3), dtype=np.uint8)
    around[:] = np.median(light, axis=0) if len(light) else _AROUND
    around[height // 2 : height // 2 + height, width // 2 : width // 2 + width] = picture
    return around
