"""Vocabulary of Shapes World, and the combinations that training never sees."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "heart")

# Hues far enough apart to be told from each other after a lossy autoencoder; all well saturated.
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 36),
    "orange": (240, 128, 24),
    "yellow": (240, 208, 32),
    "green": (48, 168, 56),
    "cyan": (32, 192, 204),
    "blue": (36, 76, 216),
    "purple": (132, 52, 196),
    "pink": (240, 96, 176),
}

PATTERNS = ("plain", "striped", "dotted", "checked")

# Light and hardly saturated, so that no background is mistaken for a thing.
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "grey": (204, 204, 206),
    "white": (248, 248, 248),
    "beige": (234, 224, 206),
    "mint": (208, 232, 218),
    "lavender": (220, 214, 238),
}

# Diameter over the square root of the picture's area: below the first is small, above the second large.
SMALL, LARGE = 0.27, 0.42

HELD_OUT_SHARE = 0.15
# Which combinations are held out is part of the world, whatever the seed of the pictures.
_SPLIT_SEED = 20240912

Split = Literal["train", "held-out", "all"]
# Words of looks, each with how many times as likely it makes a look.
Weights = tuple[tuple[str, float], ...]


class Look(NamedTuple):
    """The look of one thing, apart from its size."""

    shape: str
    color: str
    pattern: str


LOOKS = tuple(Look(*words) for words in itertools.product(SHAPES, COLORS, PATTERNS))


def _held_out() -> frozenset[Look]:
    """A seeded choice in which every word, and every pair of words, stays known from training.

    Candidates are taken in random order as long as no pair (shape and colour, shape and pattern, colour and
    pattern) loses more than a third of its combinations, so that what is new is the triple alone.
    """
    order = list(LOOKS)
    random.Random(_SPLIT_SEED).shuffle(order)
    totals: dict[tuple[str, str], int] = {}
    for look in LOOKS:
        for pair in itertools.combinations(look, 2):
            totals[pair] = totals.get(pair, 0) + 1
    taken: dict[tuple[str, str], int] = dict.fromkeys(totals, 0)
    chosen: set[Look] = set()
    for look in order:
        pairs = list(itertools.combinations(look, 2))
        if len(chosen) < round(HELD_OUT_SHARE * len(LOOKS)) and all(
            3 * (taken[pair] + 1) <= totals[pair] for pair in pairs
        ):
            chosen.add(look)
            for pair in pairs:
                taken[pair] += 1
    return frozenset(chosen)


HELD_OUT = _held_out()


def looks(split: Split, pattern: str | None = None) -> tuple[Look, ...]:
    """The combinations of a split (train, held-out or all) with any or one pattern, in a fixed order."""
    if split not in ("train", "held-out", "all"):
        raise ValueError(f'there is no split {split!r}; choose "train", "held-out" or "all"')
    if pattern not in (None, *PATTERNS):
        raise ValueError(f"there is no pattern {pattern!r}; choose {', '.join(PATTERNS)}")
    return tuple(
        look
        for look in LOOKS
        if (split == "all" or (look in HELD_OUT) == (split == "held-out")) and pattern in (None, look.pattern)
    )


def look_chances(choices: Sequence[Look], weights: Weights) -> list[float]:
    """How likely each look is, 1 in all: in proportion to the weights of its words, 1 where none is given."""
    of_word = dict(weights)
    if unknown := sorted({*of_word} - {*SHAPES, *COLORS, *PATTERNS}):
        raise ValueError(
            f"no look has {', '.join(unknown)}; weights are of {', '.join((*SHAPES, *COLORS, *PATTERNS))}"
        )
    if wrong := [word for word, weight in weights if not 0 < weight < math.inf]:
        raise ValueError(f"the weight of {', '.join(wrong)} must be more than 0; 1 is that of other words")
    shares = [math.prod(of_word.get(word, 1.0) for word in look) for look in choices]
    total = sum(shares)
    return [share / total for share in shares]


def size_word(diameter: float) -> str:
    """ "small", "large" or "" for a diameter given as a fraction of the square root of the picture's area."""
    return "small" if diameter < SMALL else "large" if diameter > LARGE else ""
