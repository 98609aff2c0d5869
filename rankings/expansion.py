"""How newcomers find their places in a ranking, and which pairs a ranking makes."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

One = TypeVar("One", bound=Hashable)
# From the best place to the worst; those who share a place are tied.
Places = Sequence[Sequence[One]]


def insert_newcomers(
    places: Places[One], scores: Mapping[One, float], newcomers: Sequence[One]
) -> list[list[One]]:
    """The ranking with newcomers in it, one after the other, each at a place of its own.

    A newcomer starts below the last place and moves up while its score is strictly greater than that of all
    who share the place above: a tie stays below, and old places keep their order even where scores disagree.
    Later newcomers are compared with earlier ones too. ValueError for a score that is missing or no number.

    Source: the expansion of the gallery in IterComp (arXiv 2410.07171).
    """
    grown = [[*place] for place in places]
    for one in (*(one for place in grown for one in place), *newcomers):
        if not math.isfinite(scores.get(one, math.nan)):
            raise ValueError(f"{one} has no score to be placed by; score its picture first")
    for newcomer in newcomers:
        at = len(grown)
        while at and all(scores[newcomer] > scores[other] for other in grown[at - 1]):
            at -= 1
        grown.insert(at, [newcomer])
    return grown


def pairs_of_places(places: Places[One], touching: Collection[One] | None = None) -> list[tuple[One, One]]:
    """(better, worse) of all pairs, from the best place down; those who share a place make none.

    `touching` keeps the pairs that one of these takes part in.
    """
    return [
        (better, worse)
        for above, below in combinations(places, 2)
        for better in above
        for worse in below
        if touching is None or better in touching or worse in touching
    ]


def places_of(ranks: Mapping[One, float]) -> list[list[One]]:
    """Places from the best down, of the place that each one has: 1 is best, equal numbers are a tie."""
    return [[one for one, rank in ranks.items() if rank == number] for number in sorted(set(ranks.values()))]


def ranks_of(places: Places[One]) -> dict[One, int]:
    """The place of each one, counted from 1; those who share one have the same."""
    return {one: number for number, place in enumerate(places, 1) for one in place}
