"""Attention maps of entities: averaging them, and how much of one lies inside a region."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Threshold of a map's own region, between the map's lowest value (0) and its highest (1).
OWN_REGION = 0.5


def average_maps(maps: Sequence[Tensor]) -> Tensor:
    """The mean of maps (B, N, h, w) of several sizes, at the finest of them.

    Each size counts once, as in CoMat's pixel loss (arXiv 2404.03653), however many layers have it.
    """
    finest = max((one.shape[-2:] for one in maps), key=lambda size: size[0] * size[1])
    resized = [
        one if one.shape[-2:] == finest else F.interpolate(one, finest, mode="bilinear", align_corners=False)
        for one in maps
    ]
    return torch.stack(resized).mean(0)


def stretch(maps: Tensor) -> Tensor:
    """Maps (..., h, w) from their own lowest value, made 0, to their highest, made 1; a flat map is all 0."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1.0)


def own_regions(maps: Tensor) -> Tensor:
    """Masks (..., h, w), 1 where each map is at least halfway to its highest value and 0 elsewhere."""
    return (stretch(maps) >= OWN_REGION).to(maps)


def concentration(maps: Tensor, coverage: Tensor) -> Tensor:
    """The share of each map (..., h, w) that lies inside its region: 0 to 1, NaN for a map that is all 0.

    `coverage` (..., h, w) says how much of each cell belongs to the region. Source: the ratio in CoMat's
    token loss (arXiv 2404.03653).
    """
    return (maps * coverage).sum((-2, -1)) / maps.sum((-2, -1))
