"""Closed-form gradients of the concentration energy with respect to one layer's attention logits.

All tensors run tokens first: probabilities (B, heads, K, L) of K tokens at L queries, masks (B or 1, E, L) of
0 and 1, `members` (E, K) of 0 and 1 that says which token belongs to which entity. The energy is
`token_loss` and `pixel_loss` of the one layer: CoMat (arXiv 2404.03653), attribute concentration.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inside_shares(mean: Tensor, masks: Tensor) -> Tensor:
    """The share of each token's attention in each mask: mean (B, K, L) over heads -> (B, K, E)."""
    total = mean.sum(-1, keepdim=True).clamp(min=torch.finfo(mean.dtype).tiny)
    return mean @ masks.transpose(1, 2) / total


def token_gradient(mean: Tensor, masks: Tensor, members: Tensor) -> Tensor:
    """d token_loss / d mean, (B, K, L).

    From r_k = sum A_k M / sum A_k: dr_k / dA_k = (M - r_k) / sum A_k.
    """
    outside = token_direction(mean, masks, members)
    return -outside / (len(members) * mean.sum(-1, keepdim=True).clamp(min=torch.finfo(mean.dtype).tiny))


def token_direction(mean: Tensor, masks: Tensor, members: Tensor) -> Tensor:
    """M - r_k for each token k, summed over its entities: (B, K, L), between -1 and 1 for one entity."""
    shares = (members.t() * inside_shares(mean, masks)).sum(-1, keepdim=True)
    return members.t() @ masks - shares


def pixel_gradient(mean: Tensor, masks: Tensor, members: Tensor) -> Tensor:
    """d pixel_loss / d mean, (B, K, L): of the mean over entities and queries of the cross-entropy."""
    tiny = torch.finfo(mean.dtype).tiny
    entity = members @ mean
    slope = (1 - masks) / (1 - entity).clamp(min=tiny) - masks / entity.clamp(min=tiny)
    return members.t() @ slope / (len(members) * mean.shape[-1])


def logit_gradient(
    probabilities: Tensor, masks: Tensor, members: Tensor, token_weight: float, pixel_weight: float
) -> Tensor:
    """d energy / d logits of the K tokens, (B, heads, K, L), through the softmax over all tokens.

    The energy does not depend on other tokens but through the softmax, so their probabilities are not needed.
    """
    mean = probabilities.mean(1)
    slope = token_weight * token_gradient(mean, masks, members)
    slope = (slope + pixel_weight * pixel_gradient(mean, masks, members)) / probabilities.shape[1]
    slope = slope[:, None]
    return probabilities * (slope - (slope * probabilities).sum(2, keepdim=True))
