"""Agreement between annotators: Kendall's coefficient of concordance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .answers import Answer, Question
from .gallery import ASPECTS


class Agreement(NamedTuple):
    """The mean of Kendall's W over questions that several annotators answered, and how many those are.

    `w` is None where there is no such question, or all answers to each of them are ties throughout.
    """

    w: float | None
    questions: int
    annotators: int


def kendalls_w(ranks: Sequence[Mapping[str, float]]) -> float | None:
    """W of the same things' ranks by several annotators, corrected for ties: 1 is one opinion, 0 is none.

    Ranks of those who share places are the mean of them. None where it is not defined: fewer than two
    annotators or things, or everything tied. ValueError where not all ranked the same things.

    Source: Kendall and Babington Smith, The problem of m rankings, Ann. Math. Statist. 10 (1939).
    """
    things = set(ranks[0]) if ranks else set()
    if any(set(one) != things for one in ranks):
        raise ValueError("all annotators must have ranked the same things")
    m, n = len(ranks), len(things)
    if m < 2 or n < 2:
        return None
    sums = [sum(one[thing] for one in ranks) for thing in things]
    mean = m * (n + 1) / 2
    spread = sum((value - mean) ** 2 for value in sums)
    ties = sum(count**3 - count for one in ranks for count in Counter(one.values()).values())
    most = m**2 * (n**3 - n) - m * ties
    return 12 * spread / most if most else None


def agreement(answers: Mapping[str, Mapping[Question, Answer]]) -> dict[str, Agreement]:
    """Agreement of annotators in each aspect that has answers; "cannot tell" is no opinion.

    Where annotators ranked different members, the largest group that ranked the same ones counts. Answers to
    another prompt of the same number are to another question.
    """
    found: dict[str, Agreement] = {}
    for aspect in ASPECTS:
        asked: dict[tuple[int, str], list[tuple[str, Answer]]] = {}
        for name, own in answers.items():
            for answer in own.values():
                if answer.aspect == aspect and answer.places:
                    asked.setdefault((answer.number, answer.prompt), []).append((name, answer))
        if not asked:
            continue
        values: list[float] = []
        who: set[str] = set()
        for several in asked.values():
            groups: dict[frozenset[str], list[tuple[str, Answer]]] = {}
            for name, answer in several:
                groups.setdefault(answer.members, []).append((name, answer))
            largest = max(groups.values(), key=len)
            value = kendalls_w([answer.ranks for _, answer in largest])
            if value is not None:
                values.append(value)
                who.update(name for name, _ in largest)
        mean = sum(values) / len(values) if values else None
        found[aspect] = Agreement(mean, len(values), len(who))
    return found
