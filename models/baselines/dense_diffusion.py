"""DenseDiffusion's attention modulation: within a segment attention is raised, between segments lowered.

Source: Kim et al. (arXiv 2308.12964), section 4. A logit moves towards the highest one of its query where
query and key belong to one segment, and towards the lowest one where they do not; by less the larger the
segment is, and the later in the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# The paper's weights of cross- and self-attention, its power of time, and its share of the steps.
CROSS_WEIGHT, SELF_WEIGHT = 1.0, 0.3
POWER = 5
ACTING = 0.3
NO_SEGMENT = -1


def weight_at(weight: float, time: float, progress: float) -> float:
    """The degree of modulation: `weight` times the fifth power of time in the first steps, then 0.

    time is 1 for noise alone and 0 for the finished picture; progress the share of the steps that are done.
    """
    return weight * time**POWER if progress < ACTING else 0.0


@dataclass(frozen=True, eq=False)
class Segments:
    """Which segment each cell (L,) and each token (T,) belongs to, by number; tokens may have `NO_SEGMENT`.

    Every cell has a segment: what nothing covers is a segment too.
    """

    cells: Tensor
    tokens: Tensor

    @cached_property
    def cross(self) -> tuple[Tensor, Tensor]:
        """Whether cell and token belong together (L, T), and the share that each token's segment has (T,)."""
        same = self.cells[:, None] == self.tokens
        return same, same.float().mean(0)

    @cached_property
    def itself(self) -> tuple[Tensor, Tensor]:
        """Whether two cells belong together (L, L), and the share that each cell's segment has (L, 1)."""
        same = self.cells[:, None] == self.cells
        return same, same.float().mean(1, keepdim=True)


def attend_modulated(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    same: Tensor,
    share: Tensor,
    weight: float,
) -> Tensor:
    """The attention of one row (L, C) with modulated logits, before the output projection.

    query (L, C); key, value (T, C); `same` (L, T) and `share`, which spreads to it, as `Segments` has them.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(0, 1) for x in (query, key, value))
    logits = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    ends = torch.where(same, logits.amax(-1, keepdim=True), logits.amin(-1, keepdim=True))
    # In place: a self-attention of a large picture fills the memory that there is.
    weights = logits.lerp_(ends, (weight * (1 - share)).expand_as(ends)).softmax(-1)
    return (weights.to(v.dtype) @ v).transpose(0, 1).flatten(1)
