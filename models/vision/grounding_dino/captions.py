"""Captions as Grounding DINO reads them: nouns in BERT's word pieces, each followed by a full stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .conversion import STOP

# Number of tokens beside the nouns and their stops: the start and the end of a caption.
AROUND = 2


@dataclass(frozen=True)
class Caption:
    """The tokens "[start] noun . noun . [end]", and each noun's tokens and their positions among them."""

    ids: tuple[int, ...]
    nouns: tuple[tuple[int, ...], ...]
    positions: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, nouns: Sequence[Sequence[int]], start: int, end: int) -> Caption:
        """The caption of nouns, each a list of tokens, between the tokens of start and end."""
        ids, positions = [start], list[tuple[int, ...]]()
        for noun in nouns:
            positions.append(tuple(range(len(ids), len(ids) + len(noun))))
            ids += [*noun, STOP]
        return cls((*ids, end), tuple(map(tuple, nouns)), tuple(positions))


def group_nouns(nouns: Sequence[Sequence[int]], most_tokens: int) -> list[list[int]]:
    """Nouns by index, as many in one caption as the network reads tokens."""
    groups: list[list[int]] = []
    used = most_tokens
    for index, noun in enumerate(nouns):
        if used + len(noun) + 1 > most_tokens:
            groups.append([])
            used = AROUND
        groups[-1].append(index)
        used += len(noun) + 1
    return groups
