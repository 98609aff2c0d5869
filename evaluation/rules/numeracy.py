"""T2I-CompBench++'s score of numbers of things (arXiv 2307.06350v3), from what a detector found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .boxes import PixelBox, intersection
from .spatial import Found

_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_ONE = frozenset({"a", "an", "one"})
_NUMBERS = {"a": 1, "an": 1} | {word: n for n, word in enumerate(_WORDS, 1)}
# Names of things under which the detector knows them.
_ALIASES = {
    **dict.fromkeys(("boy", "girl", "man", "woman"), "person"),
    "ship": "boat",
    "goldfish": "fish",
    "painting": "picture",
}
_SAME = 0.9
# Words, and marks each by itself.
_TOKEN = re.compile(r"[\w'-]+|[^\w\s]")


class Counted(NamedTuple):
    """A thing and the number of it that a prompt asks for."""

    name: str
    number: int


class Nouns(NamedTuple):
    """Names of things the scorer knows: the singular of each plural."""

    singular: Mapping[str, str]

    @classmethod
    def read(cls, text: str) -> Nouns:
        """From lines "bottle - bottles"; ValueError names a line of another form."""
        pairs: dict[str, str] = {}
        for line in filter(None, map(str.strip, text.splitlines())):
            singular, dash, plural = line.partition(" - ")
            if not dash:
                raise ValueError(f'"{line}" is no line of names; "bottle - bottles" is one')
            pairs[plural.strip()] = singular.strip()
        return cls(pairs)


def counted_things(prompt: str, nouns: Nouns) -> list[Counted]:
    """The things of a prompt with their numbers, as the scorer reads them."""
    tokens = _TOKEN.findall(prompt)
    singulars = set(nouns.singular.values())
    things: list[Counted] = []
    for place, token in enumerate(tokens):
        if token not in _NUMBERS:
            continue
        two = " ".join(tokens[place + 1 : place + 3]) if place + 2 < len(tokens) else ""
        one = tokens[place + 1] if place + 1 < len(tokens) else ""
        count = _NUMBERS[token]
        if two in singulars or two in nouns.singular:
            plural = two in nouns.singular and token not in _ONE
            things.append(Counted(nouns.singular[two], count) if plural else Counted(two, 1))
        elif one in singulars and token in _ONE:
            things.append(Counted(one, 1))
        elif one in singulars or one in nouns.singular:
            things.append(Counted(nouns.singular.get(one, one), count))
    return [Counted(_ALIASES.get(name, name), count) for name, count in things]


def score(things: Sequence[Counted], found: Sequence[Found]) -> float:
    """0 to 1: each thing counts the same, half of it for being there and half for its exact number."""
    labels = [one.label for one in thinned(found)]
    total = 0.0
    for name, number in things:
        if name not in labels:
            # Names of the detector that contain this one stand for it, for the things that follow too.
            labels = [name if name in label else label for label in labels]
        weight = 1 / len(things)
        if name in labels:
            total += weight / 2
            if labels.count(name) == number:
                total += weight / 2
    return total


def thinned(found: Sequence[Found]) -> list[Found]:
    """Detections without those that repeat a kept one: same label, nearly the same box or inside it."""
    kept: list[Found] = []
    for one in found:
        if not any(one.label == other.label and _same(one.box, other.box) for other in kept):
            kept.append(one)
    return kept


def _same(a: PixelBox, b: PixelBox) -> bool:
    # Pixels counted whole, the last one included.
    first, second = ([box[0], box[1], box[2] + 1, box[3] + 1] for box in (a, b))
    common = intersection(first, second)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    union = areas[0] + areas[1] - common
    return common / union > _SAME or common / areas[0] > _SAME or common / areas[1] > _SAME
