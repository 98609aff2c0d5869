"""Blending of what was drawn again into a picture that stays as it is everywhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def drawn_again(region: Tensor, others: Sequence[Tensor], in_front: Sequence[Tensor], grow: int) -> Tensor:
    """The pixels that are drawn again for a region: bool (height, width).

    The region grown by `grow` pixels, but not into the regions of `others`, and without what lies `in_front`
    of it. All are bool (height, width).
    """
    grown = dilate(region, grow)
    for other in others:
        grown &= ~other | region
    for front in in_front:
        grown &= ~front
    return grown


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """All pixels within a square of so many around those of a mask (height, width)."""
    if pixels < 1:
        return mask.clone()
    return _pooled(mask.float(), pixels) > 0


def feathered(mask: Tensor, pixels: int) -> Tensor:
    """Weights (height, width) of a mask: 0 outside, inside rising to 1 over about 2 × `pixels` from its edge.

    A mask too thin for that rises over fewer pixels.
    """
    while pixels > 0:
        outside = 1 - mask.float()
        # Else the weight would be below 1 everywhere, and what was there would shine through.
        if not _pooled(outside, 2 * pixels).all():
            inside = 1 - _pooled(outside, pixels)
            edge = (pixels,) * 4
            padded = F.pad(inside[None, None], edge, mode="replicate")
            return F.avg_pool2d(padded, 2 * pixels + 1, stride=1)[0, 0] * mask
        pixels //= 2
    return mask.float()


def blend(before: Tensor, after: Tensor, weights: Tensor) -> Tensor:
    """`after` into `before` (B, height, width, channels) by weights (height, width).

    Where a weight is 0 the picture keeps its bits.
    """
    share = weights[..., None].to(before)
    return torch.where(share > 0, before + share * (after.to(before) - before), before)


def _pooled(values: Tensor, pixels: int) -> Tensor:
    """The largest value within so many pixels of each; beyond the picture's edge there is nothing."""
    return F.max_pool2d(values[None, None], 2 * pixels + 1, stride=1, padding=pixels)[0, 0]
