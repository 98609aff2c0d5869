"""Preferences in Shapes World: which of two pictures shows a prompt better, from what is really there.

A comparison is a scene, scenes that differ from it in a thing or two, and a stranger; the prompts of all but
the stranger rank all of them in three aspects. The same measure, fed by the judge, ranks generated pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from .captions import Phrase, join, parse_related, relate
from .edits import vary
from .judge import read_background, read_things
from .relations import RELATIONS, holds, relation_of
from .scenes import Scene, draw_scene
from .vocabulary import (
    BACKGROUNDS,
    COLORS,
    PATTERNS,
    SHAPES,
    Look,
    Split,
    looks,
    size_word,
)
from .world import FIGURE_SHARES

Told = TypeVar("Told")

# In this share of prompts two things are said to stand in a relation.
RELATED = 0.7
# Differences in truth below this make no pair.
_LEAST = 1e-6
# Shares of scenes with 1, 2, … things: with one or two, what is bound to what is learnt soonest.
FEW_THINGS = (0.25, 0.35, 0.2, 0.12, 0.08)
_VARIANTS = 2


@dataclass(frozen=True)
class Thing:
    """One thing in a picture: its look ("unknown" where the judge cannot tell), centre and size in 0..1."""

    look: Look
    center: tuple[float, float]
    size: float


@dataclass(frozen=True)
class Content:
    """The things in a picture, and its background."""

    things: tuple[Thing, ...]
    background: str


@dataclass(frozen=True)
class Wish:
    """A prompt's demands; `relation` is that of the first thing to the second, or empty."""

    phrases: tuple[Phrase, ...]
    relation: str
    background: str

    @property
    def prompt(self) -> str:
        """The wish in words: "a red circle left of a small blue square and a pink star on grey"."""
        words = [describe_phrase(phrase) for phrase in self.phrases]
        return join(relate(words, self.relation), self.background)


@dataclass(frozen=True)
class Comparison:
    """Scenes, and for each prompt the truth (prompts, scenes, aspects) in 0..1; nan where nothing is said."""

    scenes: tuple[Scene, ...]
    wishes: tuple[Wish, ...]
    truth: NDArray[np.float64]

    def pairs(self, aspect: int) -> list[tuple[int, int, int]]:
        """(prompt, better scene, worse scene) of all that differ in an aspect, from the best scene down."""
        return [
            (prompt, better, worse)
            for prompt, truth in enumerate(self.truth[..., aspect])
            if not np.isnan(truth).any()
            for better, worse in combinations(np.argsort(-truth, kind="stable").tolist(), 2)
            if truth[better] - truth[worse] > _LEAST
        ]


@dataclass(frozen=True)
class Comparisons:
    """Comparisons numbered from 0; the same seed and settings give the same ones on every machine.

    `width` and `height` in pixels; `figures` are the shares of scenes with 1, 2, … things.
    """

    seed: int = 0
    width: int = 128
    height: int = 128
    split: Split = "train"
    figures: tuple[float, ...] = FIGURE_SHARES

    def __getitem__(self, number: int) -> Comparison:
        random = np.random.default_rng([self.seed, number, 7])
        count = int(random.choice(len(self.figures), p=self.figures)) + 1
        first, stranger = (draw_scene(random, self.width, self.height, count, self.split) for _ in range(2))
        allowed = frozenset(looks("all" if self.split == "held-out" else self.split))
        scenes = (first, *(vary(random, first, allowed) for _ in range(_VARIANTS)), stranger)
        # The stranger is only there to be worse: a prompt of its own would tell little.
        wishes = tuple(wish_for(random, scene) for scene in scenes[:-1])
        contents = [content_of(scene) for scene in scenes]
        truth = [[measure(wish, content) for content in contents] for wish in wishes]
        return Comparison(scenes, wishes, np.array(truth))


def parse_wish(prompt: str) -> Wish:
    """The wish that a prompt says, with or without a relation; `CaptionError` says what cannot be read."""
    return Wish(*parse_related(prompt))


def content_of(scene: Scene) -> Content:
    """The content of a scene."""
    side = (scene.width * scene.height) ** 0.5
    things = (
        Thing(f.look, (f.center[0] / scene.width, f.center[1] / scene.height), f.diameter / side)
        for f in scene.figures
    )
    return Content(tuple(things), scene.background)


def read_content(image: NDArray[np.uint8]) -> Content:
    """The content of a picture (height, width, 3), as the judge finds it."""
    height, width, _ = image.shape
    things: list[Thing] = []
    for reading in read_things(image):
        x0, y0, x1, y1 = reading.box
        size = max((x1 - x0) * width, (y1 - y0) * height) / (width * height) ** 0.5
        look = Look(reading.shape, reading.color, reading.pattern)
        things.append(Thing(look, ((x0 + x1) / 2, (y0 + y1) / 2), size))
    return Content(tuple(things), read_background(image))


def wish_for(random: np.random.Generator, scene: Scene) -> Wish:
    """A prompt that the scene fulfils: its things in any order, some sizes named, perhaps a relation."""
    order = [int(n) for n in random.permutation(len(scene.figures))]
    content = content_of(scene)
    relation = ""
    if len(order) > 1 and random.random() < RELATED:
        relation = relation_of(*(content.things[number].center for number in order[:2]))
    phrases = (
        Phrase(thing.look, size_word(thing.size) if random.random() < 0.5 else "")
        for thing in (content.things[number] for number in order)
    )
    return Wish(tuple(phrases), relation, scene.background)


def measure(wish: Wish, content: Content) -> tuple[float, float, float]:
    """Fulfilment of a wish by a picture in each aspect, 0..1; nan where the wish says nothing of it.

    attribute: share of the named shapes, colours and patterns that are there, on the right things;
    spatial: 1 if the relation holds between the two things, which must be there with two of three attributes;
    non-spatial: mean of the number of things, the background and each named size being right.
    """
    things = _assign(wish, content)
    named = [_agreement(p.look, t.look) if t else 0.0 for p, t in zip(wish.phrases, things, strict=True)]
    checks = [len(content.things) == len(wish.phrases), content.background == wish.background]
    checks += [
        _sized(phrase, thing) for phrase, thing in zip(wish.phrases, things, strict=True) if phrase.size
    ]
    spatial = _related(wish, things) if wish.relation else float("nan")
    return sum(named) / len(named), spatial, sum(checks) / len(checks)


def word_truths(wish: Wish, content: Content) -> list[float]:
    """For each word of a wish's prompt, commas included, whether it is true of a picture; nan where it says
    nothing.

    A shape's word also stands for "plain", which has none; "on" stands for the number of things.
    """
    nothing = float("nan")
    things = _assign(wish, content)
    truths: list[list[float]] = []
    for phrase, thing in zip(wish.phrases, things, strict=True):
        shape, color, pattern = (
            (a == b for a, b in zip(phrase.look, thing.look, strict=True)) if thing else [False] * 3
        )
        words = [nothing, *([_sized(phrase, thing)] if phrase.size else []), color]
        words += [shape and pattern] if phrase.look.pattern == "plain" else [pattern, shape]
        truths.append([float(word) for word in words])
    related = _related(wish, things) if wish.relation else nothing
    said = _sentence(wish, truths, related, nothing)
    return [*said, float(len(content.things) == len(things)), float(content.background == wish.background)]


def word_places(wish: Wish, content: Content) -> list[tuple[float, float]]:
    """For each word, as in `word_truths`, the centre of the thing it is about; nan where there is none."""
    nowhere = (float("nan"), float("nan"))
    places: list[list[tuple[float, float]]] = []
    for phrase, thing in zip(wish.phrases, _assign(wish, content), strict=True):
        _, *named = describe_phrase(phrase).split()
        places.append([nowhere, *[nowhere if thing is None else thing.center for _ in named]])
    return [*_sentence(wish, places, nowhere, nowhere), nowhere, nowhere]


def _sentence(wish: Wish, said: Sequence[Sequence[Told]], relation: Told, between: Told) -> list[Told]:
    """What is told of each word before "on": of the phrases, of the relation, and of what joins them."""
    parts = [[*words] for words in said]
    if wish.relation:
        middle = [relation] * len(wish.relation.split())
        parts = [[*parts[0], *middle, *parts[1]], *parts[2:]]
    # Between any two stands one word, a comma or "and".
    return [told for words in parts for told in (*words, between)][:-1]


def _assign(wish: Wish, content: Content) -> list[Thing | None]:
    """For each phrase the thing it most likely means: the choice with the most attributes right over all."""
    things: list[Thing | None] = [None] * len(wish.phrases)
    if content.things:
        agreement = np.array([[_agreement(p.look, t.look) for t in content.things] for p in wish.phrases])
        for row, column in zip(*linear_sum_assignment(agreement, maximize=True), strict=True):
            things[row] = content.things[column]
    return things


def _sized(phrase: Phrase, thing: Thing | None) -> bool:
    return (
        thing is not None
        and _agreement(phrase.look, thing.look) > 0.5
        and size_word(thing.size) == phrase.size
    )


def _related(wish: Wish, things: Sequence[Thing | None]) -> float:
    """1 if the relation holds between its two things, both there with two of three attributes."""
    a, b = things[:2]
    there = all(t and _agreement(p.look, t.look) > 0.5 for p, t in zip(wish.phrases, (a, b), strict=False))
    return float(there and a is not None and b is not None and holds(wish.relation, a.center, b.center))


def describe_phrase(phrase: Phrase) -> str:
    """A phrase as the world's captions have it."""
    shape, color, pattern = phrase.look
    text = " ".join(filter(None, (phrase.size, color, "" if pattern == "plain" else pattern, shape)))
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def words() -> list[str]:
    """Every word of the prompts, after the special ones of a BERT tokenizer."""
    relations = {word for relation in RELATIONS for word in relation.split()}
    named = {*SHAPES, *COLORS, *PATTERNS, *BACKGROUNDS, "small", "large", "a", "an", "and", "on", ","}
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(named | relations)]


def _agreement(one: Look, other: Look) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
