"""Who sees whom when instances of a layout are drawn by attention alone: their captions, cells and the rest.

Outside the instances everything is as it was. An instance's rows see its caption beside what they saw; its
caption's rows see themselves and the instance's cells. Isolated, an instance's rows see only their own kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .row_groups import RowGroups, Seen


@dataclass(frozen=True)
class Sway:
    """How much the instances have their own way.

    `strengths`, one for each: every key of the caption counts so many times; at 0 it counts nothing and
    the instance's rows see what they saw. `prompt`: how many times a key of the prompt counts in an
    instance's rows at strength 1 or more; between 0 and 1 it falls from 1 to that. `isolated`: the rest of
    the picture counts as much as the prompt would with `prompt` 0, and so does the prompt.
    """

    strengths: tuple[float, ...]
    prompt: float = 1.0
    isolated: bool = False

    def of_prompt(self, instance: int) -> float:
        """Weight of the prompt's keys in the rows of one instance."""
        lowest = 0.0 if self.isolated else self.prompt
        return 1.0 - min(self.strengths[instance], 1.0) * (1.0 - lowest)

    def of_others(self, instance: int) -> float:
        """Weight of the picture outside one instance in that instance's rows."""
        return 1.0 - min(self.strengths[instance], 1.0) if self.isolated else 1.0


def owners(covered: Tensor) -> Tensor:
    """Cells covered by P instances in stacking order (P, cells) -> the topmost of each cell, or -1."""
    if not len(covered):
        return covered.new_full(covered.shape[1:], -1, dtype=torch.long)
    numbers = torch.arange(1, len(covered) + 1, device=covered.device)
    return (covered * numbers[:, None]).amax(0) - 1


def joint(
    prompt: Tensor, captions: Sequence[Tensor], picture: Tensor, owner: Tensor, sway: Sway
) -> RowGroups:
    """Text and picture in one sequence, each token both row and key.

    `prompt`, `captions` (one for each instance) and `picture` are the places of their tokens; `owner` says
    for the first of the picture's tokens, its cells, whose they are; what follows is nobody's.
    """
    cells = [picture[: len(owner)][owner == instance] for instance in range(len(captions))]
    nobodys = torch.cat((picture[: len(owner)][owner < 0], picture[len(owner) :]))
    pieces = [prompt, nobodys, *captions, *cells]
    first_caption, first_cells = 2, 2 + len(captions)
    every = [Seen(first_cells + other) for other in range(len(captions))]
    groups = [(torch.cat((prompt, nobodys)), [Seen(0), Seen(1), *every])]
    for instance, (caption, own) in enumerate(zip(captions, cells, strict=True)):
        rest = sway.of_others(instance)
        around = [one if one.piece == first_cells + instance else one._replace(weight=rest) for one in every]
        seen = [Seen(0, sway.of_prompt(instance)), Seen(1, rest), *around]
        groups.append((own, [*seen, Seen(first_caption + instance, sway.strengths[instance])]))
        groups.append((caption, [Seen(first_caption + instance), Seen(first_cells + instance)]))
    return RowGroups.of(pieces, groups)


def crossed(
    prompt: Tensor,
    captions: Sequence[Tensor],
    owner: Tensor,
    sway: Sway,
    background: bool = True,
    spoken: Sequence[Tensor | None] | None = None,
) -> RowGroups:
    """Rows of the picture alone, keys of the text alone (cross-attention); arguments as for `joint`.

    `spoken`: of each caption the places of words, without marks of start and end and without padding; None
    where nobody knows them. A strength over 1 is that of words: marks draw most of the attention of a text
    (arXiv 2309.17453), and where all keys counted as many times more, nothing would change.

    Without `background` the rows outside the instances are in no group.
    """
    places = torch.arange(len(owner), device=owner.device)
    pieces, groups = [prompt], [(places[owner < 0], [Seen(0)])] if background else []
    for instance, caption in enumerate(captions):
        strength, words = sway.strengths[instance], spoken[instance] if spoken else None
        seen = [Seen(0, sway.of_prompt(instance)), Seen(len(pieces), strength)]
        if strength > 1.0 and words is not None and len(words):
            pieces += [words, caption[torch.isin(caption, words, invert=True)]]
            seen.append(Seen(len(pieces) - 1, 1.0))
        else:
            pieces.append(caption)
        groups.append((places[owner == instance], seen))
    return RowGroups.of(pieces, groups)


def apart(prompt: Tensor, captions: Sequence[Tensor]) -> RowGroups:
    """Text alone, as refiners read it: each text sees itself."""
    texts = [prompt, *captions]
    return RowGroups.of(texts, [(text, [Seen(number)]) for number, text in enumerate(texts)])


def within(owner: Tensor, sway: Sway, background: bool = True) -> RowGroups:
    """The picture alone (self-attention) while instances are isolated; otherwise everyone sees all.

    Without `background` the rows outside the instances are in no group.
    """
    places = torch.arange(len(owner), device=owner.device)
    cells = [places[owner == number] for number in range(-1, len(sway.strengths))]
    groups = [(cells[0], [Seen(piece) for piece in range(len(cells))])] if background else []
    for instance in range(len(sway.strengths)):
        rest = sway.of_others(instance)
        seen = [Seen(piece, 1.0 if piece == instance + 1 else rest) for piece in range(len(cells))]
        groups.append((cells[instance + 1], seen))
    return RowGroups.of(cells, groups)
