"""Checklist of a layout: questions about a picture whose answers are yes where it shows what was asked for.

Each instance is looked for in its own box, cut out with some of what is around it: is it there, and is it as
its caption says. Of two whose boxes overlap, the later one is to be in front. The score is the share of yes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from PIL.Image import Image

from ...layout import Box, Instance, Layout
from .interfaces import QuestionAnswerer

# Share of a box's sides that is cut out around it.
MARGIN = 0.1
# Share of the smaller box that two have in common, for one to be asked to be in front.
COVERED = 0.2
# Of an answer yes or no, with some words to spare.
ANSWER_TOKENS = 16
# Aspects of composition, by the names that rewards have.
ATTRIBUTE, SPATIAL = "attribute", "spatial"
_ONE_WORD = "Answer with one word, yes or no."
PRESENT = f'Is this in the picture: "{{caption}}"? Only the thing itself counts, not its looks. {_ONE_WORD}'
LOOKS = f'Does what this picture shows fit this description in every detail: "{{caption}}"? {_ONE_WORD}'
FRONT = f'Where they meet, is "{{front}}" in front of "{{behind}}"? {_ONE_WORD}'


class Question(NamedTuple):
    """A question about a part of the picture, and the instances it is about.

    `aspect` is that of composition, as rewards name them: attribute for looks, spatial for what is where.
    `short` says what a yes means, in few words.
    """

    text: str
    box: Box
    instances: tuple[str, ...]
    aspect: str
    short: str


@dataclass(frozen=True)
class Checked:
    """Questions with their answers, in the same order."""

    questions: tuple[Question, ...]
    answers: tuple[bool, ...]

    @property
    def score(self) -> float:
        """The share of yes, 0 to 1."""
        return sum(self.answers) / len(self.answers)

    @property
    def shares(self) -> dict[str, float]:
        """The share of yes among the questions of each aspect."""
        by_aspect: dict[str, list[bool]] = {}
        for question, answer in zip(self.questions, self.answers, strict=True):
            by_aspect.setdefault(question.aspect, []).append(answer)
        return {aspect: sum(answers) / len(answers) for aspect, answers in by_aspect.items()}

    @property
    def denied(self) -> list[Question]:
        """The questions whose answer was not yes."""
        return [one for one, answer in zip(self.questions, self.answers, strict=True) if not answer]


def questions(layout: Layout) -> list[Question]:
    """All questions of a layout's active instances: there, looks, in front."""
    active = layout.active
    asked = [
        Question(
            text.format(caption=one.caption.strip()),
            _around(one.bounds),
            (one.id,),
            aspect,
            short.format(caption=one.caption.strip()),
        )
        for one in active
        for text, aspect, short in (
            (PRESENT, SPATIAL, '"{caption}" in its place'),
            (LOOKS, ATTRIBUTE, 'looks of "{caption}"'),
        )
    ]
    for place, behind in enumerate(active):
        for front in active[place + 1 :]:
            if _covers(front, behind):
                names = {"front": front.caption.strip(), "behind": behind.caption.strip()}
                box = _around(_both(behind.bounds, front.bounds))
                short = '"{front}" in front of "{behind}"'.format(**names)
                asked.append(Question(FRONT.format(**names), box, (behind.id, front.id), SPATIAL, short))
    return asked


def check(picture: Image, layout: Layout, judge: QuestionAnswerer) -> Checked:
    """Ask a judge everything about a picture; ValueError for a layout that asks for nothing."""
    asked = questions(layout)
    if not asked:
        raise ValueError(
            "the layout has no instance to ask about: it has none, or all are disabled or without caption"
        )
    crops = [picture.crop(_pixels(one.box, picture.size)) for one in asked]
    answers = [is_yes(one) for one in judge.answer(crops, [one.text for one in asked])]
    return Checked(tuple(asked), tuple(answers))


def is_yes(answer: str) -> bool:
    """Whether an answer begins with yes, in any case."""
    return answer.strip().lower().startswith("yes")


def _around(box: Box) -> Box:
    across, down = MARGIN * box.width, MARGIN * box.height
    return Box(box.x0 - across, box.y0 - down, box.x1 + across, box.y1 + down)


def _both(a: Box, b: Box) -> Box:
    return Box(min(a.x0, b.x0), min(a.y0, b.y0), max(a.x1, b.x1), max(a.y1, b.y1))


def _covers(front: Instance, behind: Instance) -> bool:
    a, b = front.bounds, behind.bounds
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return width > 0 and height > 0 and width * height >= COVERED * min(a.area, b.area)


def _pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels of a box that are in the picture, at least one."""
    ends: list[int] = []
    for low, high, side in ((box.x0, box.x1, size[0]), (box.y0, box.y1, size[1])):
        start = min(max(0, round(low * side)), side - 1)
        ends += [start, min(side, max(start + 1, round(high * side)))]
    return ends[0], ends[2], ends[1], ends[3]
