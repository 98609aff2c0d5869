"""Stacking order among instances that share cells: what is in front hides what is behind, where it is.

Instances are composed from front to back, as volumes are rendered: of what an instance weighs in a cell that
part counts which those in front of it let through. How much one hides is told by its own weight in the cell,
relative to the cell where it weighs most, so that an empty corner of a box hides little. The instances of a
cell keep their weight together: the adapter adds as much as without, from other instances.

The idea of composing objects' attention by transmittance, without training, is LaRender's (arXiv 2508.07647);
there densities come from attention to an object's words, here from the adapter's own gate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..regions import Placement


def occluded(weights: Tensor, placement: Placement, occlusion: float) -> Tensor:
    """Weights (..., rows or 1, slots, h, w) of instances in stacking order, the last in front, composed.

    `occlusion`: how much of what is behind an instance hides where it weighs most, 0 to 1. Slots behind the
    instances' own stay as they are, and so do cells that no two instances share, bit for bit.
    """
    covered = _coverage(placement).to(weights.dtype)
    own, empty = weights.split([covered.shape[-3], weights.shape[-3] - covered.shape[-3]], dim=-3)
    # An adapter may take away what it adds: weights of one prompt then are all negative.
    shares = (own * covered).abs()
    tiny = torch.finfo(weights.dtype).tiny
    hides = occlusion * shares / shares.amax((-2, -1), keepdim=True).clamp(min=tiny)
    # From the front: what each lets through, and before it those in front of it.
    clear = (1.0 - hides).flip(-3)
    through = torch.cat((torch.ones_like(clear[..., :1, :, :]), clear[..., :-1, :, :]), -3).cumprod(-3)
    seen = shares * through.flip(-3)
    together = shares.sum(-3, keepdim=True) / seen.sum(-3, keepdim=True).clamp(min=tiny)
    shared = covered.sum(-3, keepdim=True) > 1
    return torch.cat((torch.where(shared, seen * together * own.sign(), own), empty), -3)


def _coverage(placement: Placement) -> Tensor:
    """The cells of each instance (rows, slots, h, w), as many slots as the fullest row has; made once."""
    if "coverage" not in placement.made:
        rows = placement.covered.split(placement.counts)
        most = max(map(len, rows))
        padded = [torch.cat((row, row.new_zeros(most - len(row), *placement.grid))) for row in rows]
        placement.made["coverage"] = torch.stack(padded).float().to(placement.device)
    return placement.made["coverage"]
