"""Preferences in Shapes World: which of two pictures shows a prompt better, from what is really there.

A comparison is a scene, scenes that differ from it in a thing or two, and a stranger; the prompts of all but
the stranger rank all of them in three aspects. The same measure, fed by the judge, ranks generated pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from .captions import CaptionError, Phrase, join, parse
from .judge import read_background, read_things
from .scenes import (
    MOST_FIGURES,
    Figure,
    Scene,
    draw_scene,
)
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

RELATIONS = ("left of", "right of", "above", "below")
# Centres this far apart, as a share of the side, stand in a relation; less is neither left nor right.
_APART = 0.12
# In this share of prompts two things are said to stand in a relation.
_RELATED = 0.7
# Differences in truth below this make no pair.
_LEAST = 1e-6
# Shares of scenes with 1, 2, … things: with one or two, what is bound to what is learnt soonest.
FEW_THINGS = (0.25, 0.35, 0.2, 0.12, 0.08)
_VARIANTS = 2
_EDITS = (0.55, 0.3, 0.15)
_TRIES = 20


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
        if self.relation:
            words = [f"{words[0]} {self.relation} {words[1]}", *words[2:]]
        return join(words, self.background)

    @property
    def caption(self) -> str:
        """The same in the grammar of the world's captions, without the relation."""
        return join([describe_phrase(phrase) for phrase in self.phrases], self.background)


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
        scenes = (first, *(_vary(random, first, allowed) for _ in range(_VARIANTS)), stranger)
        # The stranger is only there to be worse: a prompt of its own would tell little.
        wishes = tuple(wish_for(random, scene) for scene in scenes[:-1])
        contents = [content_of(scene) for scene in scenes]
        truth = [[measure(wish, content) for content in contents] for wish in wishes]
        return Comparison(scenes, wishes, np.array(truth))


def parse_wish(prompt: str) -> Wish:
    """The wish that a prompt says, with or without a relation; `CaptionError` says what cannot be read."""
    things, separator, background = prompt.rpartition(" on ")
    first, *others = re.split(r", | and ", things)
    relation = next((one for one in RELATIONS if f" {one} " in first), "")
    related = first.split(f" {relation} ") if relation else [first]
    if len(related) > 2:
        raise CaptionError(f"{prompt!r} says more than one relation; one, of its first two things, is read")
    phrases, background = parse(join([*related, *others], background) if separator else prompt)
    return Wish(phrases, relation, background)


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
    if len(order) > 1 and random.random() < _RELATED:
        relation = _relation(content.things[order[0]], content.things[order[1]])
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
    if wish.relation:
        relation = [_related(wish, things)] * len(wish.relation.split())
        truths = [[*truths[0], *relation, *truths[1]], *truths[2:]]
    # Between any two stands one word, a comma or "and".
    flat = [truth for words in truths for truth in (*words, nothing)][:-1]
    return [*flat, float(len(content.things) == len(things)), float(content.background == wish.background)]


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
    return float(there and a is not None and b is not None and _holds(wish.relation, a, b))


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


def _relation(a: Thing, b: Thing) -> str:
    """The relation of a to b along the axis that parts them more; empty when they are too close."""
    dx, dy = b.center[0] - a.center[0], b.center[1] - a.center[1]
    if max(abs(dx), abs(dy)) < _APART:
        return ""
    if abs(dx) > abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"


def _holds(relation: str, a: Thing, b: Thing) -> bool:
    dx, dy = b.center[0] - a.center[0], b.center[1] - a.center[1]
    offset = {"left of": dx, "right of": -dx, "above": dy, "below": -dy}[relation]
    return offset >= _APART


def _vary(random: np.random.Generator, scene: Scene, allowed: frozenset[Look]) -> Scene:
    """The scene with one to three things changed, its looks still different and allowed."""
    count = int(random.choice(len(_EDITS), p=_EDITS)) + 1
    varied = scene
    for _ in range(count):
        for _ in range(_TRIES):
            edit = _EDITORS[int(random.choice(len(_EDITORS), p=_SHARES))]
            tried = edit(random, varied)
            shown = [figure.look for figure in tried.figures]
            if tried is not varied and len({*shown}) == len(shown) and allowed.issuperset(shown):
                varied = tried
                break
    return varied


def _exchange_attribute(random: np.random.Generator, scene: Scene) -> Scene:
    """Two things exchange shape, colour or pattern: the same words, bound otherwise."""
    if len(scene.figures) < 2:
        return scene
    first, second = (int(n) for n in random.choice(len(scene.figures), 2, replace=False))
    a, b = scene.figures[first], scene.figures[second]
    field = _FIELDS[int(random.integers(3))]
    changed = [*scene.figures]
    changed[first] = _with(a, field, getattr(b.look, field))
    changed[second] = _with(b, field, getattr(a.look, field))
    return replace(scene, figures=tuple(changed))


def _change_attribute(random: np.random.Generator, scene: Scene) -> Scene:
    """One thing gets another shape, colour or pattern."""
    number = int(random.integers(len(scene.figures)))
    field = _FIELDS[int(random.integers(3))]
    choices = {"shape": SHAPES, "color": tuple(COLORS), "pattern": PATTERNS}[field]
    changed = [*scene.figures]
    changed[number] = _with(changed[number], field, str(random.choice(choices)))
    return replace(scene, figures=tuple(changed))


def _exchange_places(random: np.random.Generator, scene: Scene) -> Scene:
    """Two things exchange their places and sizes."""
    if len(scene.figures) < 2:
        return scene
    first, second = (int(n) for n in random.choice(len(scene.figures), 2, replace=False))
    a, b = scene.figures[first], scene.figures[second]
    changed = [*scene.figures]
    changed[first] = replace(a, center=b.center, diameter=b.diameter)
    changed[second] = replace(b, center=a.center, diameter=a.diameter)
    return replace(scene, figures=tuple(changed))


def _mirror(random: np.random.Generator, scene: Scene) -> Scene:
    """Everything left goes right, or everything above below."""
    upright = random.random() < 0.5
    figures = (
        replace(
            f,
            center=(f.center[0], scene.height - f.center[1])
            if upright
            else (scene.width - f.center[0], f.center[1]),
        )
        for f in scene.figures
    )
    return replace(scene, figures=tuple(figures))


def _remove(random: np.random.Generator, scene: Scene) -> Scene:
    """One thing less."""
    if len(scene.figures) < 2:
        return scene
    gone = int(random.integers(len(scene.figures)))
    return replace(scene, figures=tuple(f for n, f in enumerate(scene.figures) if n != gone))


def _add(random: np.random.Generator, scene: Scene) -> Scene:
    """One thing more where there is room: one of another scene with as many things as this one would have."""
    count = len(scene.figures) + 1
    if count > MOST_FIGURES:
        return scene
    for figure in draw_scene(random, scene.width, scene.height, count, "train").figures:
        if all(_clear(figure, other) for other in scene.figures):
            return replace(scene, figures=(*scene.figures, figure))
    return scene


def _resize(random: np.random.Generator, scene: Scene) -> Scene:
    """One thing becomes much smaller."""
    number = int(random.integers(len(scene.figures)))
    changed = [*scene.figures]
    changed[number] = replace(
        changed[number], diameter=float(random.uniform(0.5, 0.65)) * changed[number].diameter
    )
    if changed[number].diameter < _SMALLEST * (scene.width * scene.height) ** 0.5:
        return scene
    return replace(scene, figures=tuple(changed))


def _repaint(random: np.random.Generator, scene: Scene) -> Scene:
    """Another background."""
    background = str(random.choice([name for name in BACKGROUNDS if name != scene.background]))
    red, green, blue = (float(value) for value in BACKGROUNDS[background])
    return replace(scene, background=background, background_rgb=(red, green, blue))


def _with(figure: Figure, field: str, value: str) -> Figure:
    look = figure.look._replace(**{field: value})
    red, green, blue = (float(part) for part in COLORS[look.color])
    return replace(figure, look=look, rgb=(red, green, blue))


def _clear(a: Figure, b: Figure) -> bool:
    reach = 0.55 * (a.diameter + b.diameter) + 2
    return abs(a.center[0] - b.center[0]) > reach or abs(a.center[1] - b.center[1]) > reach


_FIELDS = ("shape", "color", "pattern")
# The smallest thing that still shows its pattern.
_SMALLEST = 0.18
_Edit = Callable[[np.random.Generator, Scene], Scene]
_EDITORS: Sequence[_Edit] = (
    _exchange_attribute,
    _change_attribute,
    _exchange_places,
    _mirror,
    _remove,
    _add,
    _resize,
    _repaint,
)
_SHARES = (0.25, 0.2, 0.15, 0.12, 0.06, 0.06, 0.1, 0.06)
