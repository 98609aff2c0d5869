"""Captions with two attributes exchanged: the same words, bound otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from .captions import Phrase
from .vocabulary import Look


def exchange_attributes(random: np.random.Generator, phrases: Sequence[Phrase]) -> tuple[Phrase, ...] | None:
    """The phrases after two of them have exchanged shape, colour or pattern; None where that changes nothing.

    One of all exchanges that leave other looks than before, whatever their order.
    """
    before = sorted(phrase.look for phrase in phrases)
    found: list[tuple[Phrase, ...]] = []
    for first, second in combinations(range(len(phrases)), 2):
        for field in Look._fields:
            changed = [*phrases]
            changed[first] = _with(phrases[first], field, phrases[second])
            changed[second] = _with(phrases[second], field, phrases[first])
            if sorted(phrase.look for phrase in changed) != before:
                found.append(tuple(changed))
    return found[int(random.integers(len(found)))] if found else None


def _with(phrase: Phrase, field: str, other: Phrase) -> Phrase:
    return phrase._replace(look=phrase.look._replace(**{field: getattr(other.look, field)}))
