"""Local concentration: the attention logits of one layer, moved in closed form without a backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..attention.probabilities import token_probabilities
from .gradient import logit_gradient, pixel_direction, token_direction
from .targets import Members, Targets, own_masks

# Logits move by at most this much: it gives a token all attention or none, and exp of more leaves float32.
LARGEST_MOVE = 30.0


@dataclass(frozen=True)
class LocalGuidance:
    """Settings of how far a layer's attention logits are moved.

    "natural" steps along the natural gradient, the steepest descent measured in changes of probability
    (mirror descent, Nemirovsky and Yudin 1983): a token's logits move by `strength` times
    token_weight (M - r) + pixel_weight (M - A), with its mask M, the share r of its attention inside, and the
    entity's attention A. Neither the number of cells, heads or entities nor how much attention a token gets
    enters, and it ends by itself when attention is where it should be. "plain" steps along the gradient by
    the logits, scaled so that the largest move of a layer is `strength`. Both in `inner_steps` equal parts;
    ValueError for less than one.
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
    members = targets.members(query.device, active)
    before = token_probabilities(query, key, heads, members.tokens).transpose(2, 3)
    moves = _moves(before, targets.masks(grid, query.device)[None], members, guidance)
    change, share = _changed(before, moves)
    values = value[:, members.tokens].float().unflatten(-1, (heads, -1)).transpose(1, 2)
    added = change.transpose(2, 3) @ values
    plain = attended.float().unflatten(-1, (heads, -1)).transpose(1, 2)
    added = (added * share).add_(plain * (share - 1.0))
    return added.transpose(1, 2).flatten(2)


def _moves(before: Tensor, masks: Tensor, members: Members, guidance: LocalGuidance) -> Tensor:
    """The distance that each logit moves: (B, heads or 1, K, L)."""
    if members.derived is not None:
        masks = torch.where(members.derived, own_masks(members.nouns @ before.mean(1)), masks)
    moves: Tensor | None = None
    for _ in range(guidance.inner_steps):
        now = before
        if moves is not None:
            change, share = _changed(before, moves.clamp(-LARGEST_MOVE, LARGEST_MOVE))
            now = (before + change) * share.transpose(2, 3)
        if guidance.step == "natural":
            step = _natural_step(now.mean(1), masks, members.weighted, guidance)
        else:
            step = _plain_step(now, masks, members, guidance)
        step = _scaled(step, guidance.strength / guidance.inner_steps)
        moves = step if moves is None else moves + step
    assert moves is not None
    return moves.clamp(-LARGEST_MOVE, LARGEST_MOVE)


def _natural_step(mean: Tensor, masks: Tensor, weighted: Tensor, guidance: LocalGuidance) -> Tensor:
    step = _scaled(token_direction(mean, masks, weighted), guidance.token_weight)
    return (step + _scaled(pixel_direction(mean, masks, weighted), guidance.pixel_weight))[:, None]


def _scaled(step: Tensor, factor: float) -> Tensor:
    """factor x step, without a launch where the factor is 1."""
    return step if factor == 1.0 else factor * step


def _plain_step(now: Tensor, masks: Tensor, members: Members, guidance: LocalGuidance) -> Tensor:
    step = -logit_gradient(now, masks, members.members, guidance.token_weight, guidance.pixel_weight)
    step = step * members.weighted.amax(0)[:, None]
    largest = step.abs().amax((1, 2, 3), keepdim=True)
    return step / largest.clamp(min=torch.finfo(step.dtype).tiny)


def _changed(before: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """p (exp(move) - 1), (B, heads, K, L), and the old normaliser's share of the new, (B, heads, L, 1)."""
    change = before * moves.expm1()
    return change, 1.0 / (1.0 + change.sum(2)[..., None])
