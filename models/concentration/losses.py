"""Losses of attribute concentration: the attention of an entity that lies outside its region.

Cross-attention probabilities come as maps, one tensor (heads, h, w, tokens) per module, all of one
resolution. Entities come as masks (E, H, W) at any resolution and as groups: for each entity the indices of
its tokens, noun and attributes. All losses are differentiable scalars; without entities they are 0.

Source: CoMat (arXiv 2404.03653), attribute concentration. The `_official` forms are what its released code
computes, which its loss weights were tuned to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Groups = Sequence[Sequence[int]]

# The released code's binary cross-entropy is torch's, which clamps the logarithm there.
LOWEST_LOGARITHM = -100.0


def token_loss(maps: Sequence[Tensor], masks: Tensor, groups: Groups) -> Tensor:
    """The share of each token's attention outside its entity's mask, summed over the entity's tokens.

    Averaged over entities and summed over modules; a module's heads are averaged before.
    """
    masks = _resize(masks, maps, groups)
    losses = [
        (1.0 - _inside(attention.mean(0, keepdim=True)[..., list(group)], mask)).sum()
        for attention in maps
        for group, mask in zip(groups, masks, strict=True)
    ]
    return _total(losses, maps) / max(len(groups), 1)


def token_loss_official(maps: Sequence[Tensor], masks: Tensor, groups: Groups) -> Tensor:
    """As `token_loss`, but the share is taken per head and squared, and averaged over an entity's tokens."""
    masks = _resize(masks, maps, groups)
    losses = [
        (1.0 - _inside(attention[..., list(group)], mask).mean(0)).square().mean()
        for attention in maps
        for group, mask in zip(groups, masks, strict=True)
    ]
    return _total(losses, maps) / max(len(groups), 1)


def pixel_loss(maps: Sequence[Tensor], masks: Tensor, groups: Groups) -> Tensor:
    """Binary cross-entropy of an entity's attention, all its tokens together, against its mask.

    The mean over pixels and entities; heads and modules are averaged before. Infinite where attention is 0
    or 1 on the wrong side of a mask.
    """
    return _cross_entropy(maps, masks, groups, lowest=-torch.inf)


def pixel_loss_official(maps: Sequence[Tensor], masks: Tensor, groups: Groups) -> Tensor:
    """As `pixel_loss`, with the logarithm clamped at -100."""
    return _cross_entropy(maps, masks, groups, lowest=LOWEST_LOGARITHM)


def _cross_entropy(maps: Sequence[Tensor], masks: Tensor, groups: Groups, lowest: float) -> Tensor:
    masks = _resize(masks, maps, groups)
    mean = torch.stack([attention.mean(0) for attention in maps]).mean(0)
    losses: list[Tensor] = []
    for group, mask in zip(groups, masks, strict=True):
        attention = mean[..., list(group)].sum(-1)
        # torch.where instead of a product with the mask, because infinity times 0 is not a number.
        likelihood = torch.where(mask, attention, 1.0 - attention)
        losses.append(-_logarithm(likelihood, lowest).mean())
    return _total(losses, maps) / max(len(groups), 1)


def _logarithm(likelihood: Tensor, lowest: float) -> Tensor:
    """The logarithm, no less than `lowest`; its gradient is 0 where 1 / likelihood would overflow."""
    if lowest == -torch.inf:
        return likelihood.log()
    regular = likelihood >= torch.finfo(likelihood.dtype).tiny
    floor = likelihood.detach().clamp(min=0).log().clamp(min=lowest)
    return torch.where(regular, torch.where(regular, likelihood, 1.0).log(), floor)


def _inside(attention: Tensor, mask: Tensor) -> Tensor:
    """The share of attention (heads, h, w, tokens) inside a mask (h, w), for each head and token.

    A head that gives a token nothing at all has nothing inside.
    """
    total = attention.sum((1, 2)).clamp(min=torch.finfo(attention.dtype).tiny)
    return (attention * mask[..., None]).sum((1, 2)) / total


def _resize(masks: Tensor, maps: Sequence[Tensor], groups: Groups) -> Tensor:
    """Masks (E, H, W) at the maps' resolution, as booleans: a cell belongs to a mask that touches it.

    The released code resizes with antialiasing and takes everything above 0, so masks grow.
    """
    if len(masks) != len(groups):
        raise ValueError(f"there are {len(masks)} masks for {len(groups)} entities; each entity has one")
    if not len(masks):
        return masks.bool()
    size = maps[0].shape[1:3]
    resized = F.interpolate(masks[:, None].float(), size=tuple(size), mode="bilinear", antialias=True)
    return resized[:, 0] > 0


def _total(losses: list[Tensor], maps: Sequence[Tensor]) -> Tensor:
    return torch.stack(losses).sum() if losses else maps[0].new_zeros(())
