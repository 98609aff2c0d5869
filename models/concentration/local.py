"""Local concentration: the attention logits of one layer, moved in closed form without a backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..attention.probabilities import split_heads, token_rows
from .direction import LARGEST_FALL, LARGEST_MOVE, Direction
from .gradient import logit_gradient
from .targets import Members, Targets, own_masks

# One inner step: probabilities (B, heads, K, L) -> the distance that logits move, (B, heads or 1, K, L).
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LocalGuidance:
    """Settings of how far a layer's attention logits are moved.

    "natural" steps along the natural gradient, the steepest descent measured in changes of probability
    (mirror descent, Nemirovsky and Yudin 1983): a token's logits move by `strength` times
    token_weight (M - r) + pixel_weight (M - A), with its mask M, the share r of its attention inside, and the
    entity's attention A. Neither the number of cells, heads or entities nor how much attention a token gets
    enters, and it ends by itself when attention is where it should be. "plain" steps along the gradient by
    the logits, scaled so that the largest move of a layer is `strength`, times that of a token's region.
    Both in `inner_steps` equal parts; ValueError for less than one.
    """

    token_weight: float = 1.0
    pixel_weight: float = 1.0
    strength: float = 1.0
    inner_steps: int = 1
    step: Literal["natural", "plain"] = "natural"

    def __post_init__(self) -> None:
        if self.inner_steps < 1:
            raise ValueError(f"inner_steps is {self.inner_steps}; 1 or more is allowed")


def concentrate(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    heads: int,
    targets: Targets,
    grid: tuple[int, int],
    guidance: LocalGuidance,
    active: tuple[bool, ...] | None = None,
) -> Tensor:
    """The change that concentration makes to a layer's attention: (B, L, heads * d) in float32.

    query (B, L, heads * d), key and value (B, T, heads * d) as the layer projects them; `attended` is their
    plain attention. Only the logits of the K tokens move, so all that is needed of the others is that the new
    normaliser scales them. With c_k = p_k (exp(move_k) - 1) and 1 / rho = 1 + sum_k c_k:
    softmax' V = rho (softmax V + sum_k c_k V_k).
    """
    tokens = targets.members(query.device, active).tokens
    before = token_rows(query, key, heads, tokens)
    return concentrate_tokens(
        before, value.index_select(1, tokens), attended, targets, grid, guidance, active
    )


def concentrate_tokens(
    before: Tensor,
    values: Tensor,
    attended: Tensor,
    targets: Targets,
    grid: tuple[int, int],
    guidance: LocalGuidance,
    active: tuple[bool, ...] | None = None,
) -> Tensor:
    """`concentrate` from the attention of the K tokens, (B, heads, K, L), and their values (B, K, heads * d).

    Whatever else the softmax was over, picture tokens among them, is in `attended` alone.
    """
    members, heads = targets.members(before.device, active), before.shape[1]
    moves = _moves(before, targets, grid, guidance, active)
    change, share = _changed(before, moves, members)
    added = torch.bmm(change.flatten(0, 1).transpose(1, 2), split_heads(values, heads))
    added = added.unflatten(0, (-1, heads))
    # rho sum - (1 - rho) plain, as the interpolation from -plain to the sum.
    minus_plain = (attended * members.minus).unflatten(-1, (heads, -1)).transpose(1, 2)
    return torch.lerp(minus_plain, added, share.transpose(2, 3)).transpose(1, 2).flatten(2)


def _moves(
    before: Tensor,
    targets: Targets,
    grid: tuple[int, int],
    guidance: LocalGuidance,
    active: tuple[bool, ...] | None,
) -> Tensor:
    """The distance that each logit moves: (B, heads or 1, K, L)."""
    members = targets.members(before.device, active)
    if guidance.step == "natural":
        step, largest = _natural_steps(before, targets, grid, guidance, active)
    else:
        step, largest = _plain_steps(before, targets, grid, guidance, members), math.inf

    def limited(moves: Tensor) -> Tensor:
        return moves if largest <= LARGEST_FALL else moves.clamp(-LARGEST_FALL, LARGEST_MOVE)

    moves = step(before)
    for _ in range(guidance.inner_steps - 1):
        change, share = _changed(before, limited(moves), members)
        moves = moves + step((before + change) * share)
    return limited(moves)


def _natural_steps(
    before: Tensor,
    targets: Targets,
    grid: tuple[int, int],
    guidance: LocalGuidance,
    active: tuple[bool, ...] | None,
) -> tuple[Step, float]:
    """One inner step, and a bound of all of them together."""
    weights = (guidance.token_weight, guidance.pixel_weight)
    part = guidance.strength / guidance.inner_steps
    direction = Direction.of(targets, grid, before.device, active, before.shape[1], weights, part)
    own: Tensor | None = None

    def step(now: Tensor) -> Tensor:
        nonlocal own
        moves, own = direction.step(now, own)
        return moves[:, None]

    return step, guidance.inner_steps * direction.largest


def _plain_steps(
    before: Tensor, targets: Targets, grid: tuple[int, int], guidance: LocalGuidance, members: Members
) -> Step:
    masks = targets.masks(grid, before.device)[None]
    if members.derived is not None:
        masks = torch.where(members.derived, own_masks(members.nouns @ before.mean(1)), masks)
    strengths = members.weighted.amax(0)[:, None]

    def step(now: Tensor) -> Tensor:
        moves = logit_gradient(now, masks, members.members, guidance.token_weight, guidance.pixel_weight)
        largest = moves.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(moves.dtype).tiny)
        return moves / largest * strengths * (-guidance.strength / guidance.inner_steps)

    return step


def _changed(before: Tensor, moves: Tensor, members: Members) -> tuple[Tensor, Tensor]:
    """p (exp(move) - 1), (B, heads, K, L), and the old normaliser's share of the new, (B, heads, 1, L)."""
    change = before * moves.expm1()
    flat = change.flatten(0, 1)
    normaliser = torch.baddbmm(members.one, members.ones.expand(len(flat), -1, -1), flat)
    return change, normaliser.reciprocal().unflatten(0, change.shape[:2])
