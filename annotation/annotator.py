"""The annotator, which makes layouts of pictures with a detector and a captioner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL.Image import Image

from ..layout import (
    Box,
    Canvas,
    Instance,
    Layout,
)
from ..models.vision.interfaces import Captioner, Detection, Detector, Tagger
from .selection import Limits, select
from .words import tidy

# Least side of a crop in pixels: vision models see patches of 14 to 32, and need one whole patch at least.
_SMALLEST_CROP = 32


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture, what is known of it beforehand: its caption, None where there is none, and tags.

    `notes` say what was decided when its file was read.
    """

    picture: Image
    caption: str | None = None
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotator:
    """Captions pictures, finds their things, and captions those.

    `words` are looked for in every picture; without any, those that `nouns` finds in its caption. Tags are
    looked for as well, those that `tagger` gives among them. A thing is cut out with a margin around it, a
    share of its sides. `about` is noted in every layout.
    """

    detector: Detector
    captioner: Captioner
    nouns: Callable[[Sequence[str]], Sequence[tuple[str, ...]]]
    words: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    margin: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)
    tagger: Tagger | None = None

    def annotate(self, subjects: Sequence[Subject]) -> list[Layout]:
        """A layout for each picture, its caption as the prompt; without instances where nothing was found."""
        subjects = self._tagged(subjects)
        captions = self._captions(subjects)
        found = [self.words] * len(subjects) if self.words else self.nouns(captions)
        words = [tidy((*most, *one.tags)) for most, one in zip(found, subjects, strict=True)]
        detections = self.detector.detect([one.picture for one in subjects], words)
        chosen = [select(some, self.limits) for some in detections]
        described = iter(self._describe(subjects, chosen))
        return [
            self._layout(one, caption, some, [next(described) for _ in some])
            for one, caption, some in zip(subjects, captions, chosen, strict=True)
        ]

    def _tagged(self, subjects: Sequence[Subject]) -> Sequence[Subject]:
        if self.tagger is None:
            return subjects
        made = self.tagger.tag([one.picture for one in subjects])
        return [replace(one, tags=tidy((*one.tags, *tags))) for one, tags in zip(subjects, made, strict=True)]

    def _captions(self, subjects: Sequence[Subject]) -> list[str]:
        unknown = [one.picture for one in subjects if one.caption is None]
        made = iter(self.captioner.caption_pictures(unknown) if unknown else [])
        return [_one_line(next(made) if one.caption is None else one.caption) for one in subjects]

    def _describe(self, subjects: Sequence[Subject], chosen: Sequence[Sequence[Detection]]) -> list[str]:
        """Captions of all things of all pictures; the word alone where the captioner has none."""
        crops = [
            one.picture.crop(crop_around(thing.box, one.picture.size, self.margin))
            for one, some in zip(subjects, chosen, strict=True)
            for thing in some
        ]
        words = [thing.word for some in chosen for thing in some]
        captions = self.captioner.caption_instances(crops, words) if crops else []
        return [_one_line(caption) or word for caption, word in zip(captions, words, strict=True)]

    def _layout(
        self, subject: Subject, caption: str, chosen: Sequence[Detection], described: Sequence[str]
    ) -> Layout:
        instances = tuple(
            Instance(
                id=str(number),
                box=one.box,
                caption=text,
                extra={"annotation": {"word": one.word, "score": round(one.score, 4)}},
            )
            for number, (one, text) in enumerate(zip(chosen, described, strict=True), 1)
        )
        about = {**self.about, **({"tags": list(subject.tags)} if subject.tags else {})}
        extra = {"annotation": about} if about else {}
        return Layout(instances, Canvas(*subject.picture.size), caption, extra=extra).checked()


def crop_around(box: Box, size: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels of what is cut out of a picture of that size for a box.

    `margin` is a share of the box's sides; what is smaller than 32 pixels is widened to that.
    """
    left, right = _span(box.x0, box.x1, size[0], margin)
    top, bottom = _span(box.y0, box.y1, size[1], margin)
    return left, top, right, bottom


def _span(start: float, end: float, pixels: int, margin: float) -> tuple[int, int]:
    around = margin * (end - start)
    first, last = round((start - around) * pixels), round((end + around) * pixels)
    missing = max(0, min(_SMALLEST_CROP, pixels) - (last - first))
    first, last = first - missing // 2, last + missing - missing // 2
    # A widened span that would leave the picture is moved inside, so that it keeps its length.
    if missing:
        move = max(0, -first) - max(0, last - pixels)
        first, last = first + move, last + move
    return max(0, first), min(pixels, last)


def _one_line(text: str) -> str:
    return " ".join(text.split())
