"""Silhouettes: where inside its box an instance is going to be, grown from the attention of early steps.

A map is averaged over layers and steps, smoothed a little inside the box, and parted by Otsu's threshold
(1979), the one that leaves least variance within both parts. It is cut nearer to the dark part: a silhouette
that keeps a corner does no harm, one that lacks a limb does. What says nothing keeps its box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention.heat_maps import average_maps
from .regions import Regions, box_cells

# A map is even where its bright part is higher than its dark part by less than this share of its mean.
LEAST_CONTRAST = 0.1
# Where a map is cut, on the way from the mean of its dark part to that of its bright part.
CUT = 0.25
# No silhouette has less of its box: that would be a speck.
LEAST_SHARE = 0.1
# Standard deviation of the smoothing, as a share of the box's longer side.
SMOOTHING = 0.04
# A box may end inside a cell of the map, so a silhouette's mask is so many times as fine.
FINER = 4


class GatheredMaps:
    """Sums of attention maps (B, P, h, w) over layers and steps, of every size apart."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, ...], Tensor] = {}
        self._counts: dict[tuple[int, ...], int] = {}

    def add(self, maps: Tensor) -> None:
        """The maps of one layer at one step."""
        shape = tuple(maps.shape)
        self._sums[shape] = self._sums[shape] + maps if shape in self._sums else maps.float()
        self._counts[shape] = self._counts.get(shape, 0) + 1

    def mean(self, rows: int) -> Tensor | None:
        """The mean (rows, P, h, w) at the finest size, on the CPU; None without maps of so many rows."""
        found = [(sums / self._counts[shape]).cpu() for shape, sums in self._sums.items() if shape[0] == rows]
        return average_maps(found) if found else None


@dataclass(frozen=True, eq=False)
class Silhouettes:
    """Regions of one picture; `shares` say how much of its box each takes, None where the box stayed."""

    regions: Regions
    shares: tuple[float | None, ...]


def grow_silhouettes(maps: Tensor, regions: Regions) -> Silhouettes:
    """Regions whose boxes are silhouettes where the maps (P, h, w) of one picture tell them.

    Every silhouette lies within its box and is not empty; an instance with a mask keeps it.
    """
    grid = (maps.shape[-2], maps.shape[-1])
    masks: list[Tensor | None] = []
    shares: list[float | None] = []
    for box, mask, one in zip(regions.boxes, regions.masks, maps.float(), strict=True):
        x0, y0, x1, y1 = box_cells(box, grid)
        part = silhouette(one[y0:y1, x0:x1]) if mask is None else None
        whole = torch.zeros(grid, dtype=torch.bool)
        if part is not None:
            whole[y0:y1, x0:x1] = part
        within = _within(whole, box)
        # A box without height or width touches a cell of the map, and none of a finer grid.
        if part is None or not within.any():
            masks.append(mask)
            shares.append(None)
            continue
        masks.append(within)
        shares.append(float(part.float().mean()))
    return Silhouettes(replace(regions, masks=tuple(masks)), tuple(shares))


def silhouette(values: Tensor) -> Tensor | None:
    """The bright part (h, w, bool) of a box's map, None where the map is even or bright in a speck alone."""
    if values.numel() < 2:
        return None
    smooth = _smoothed(values)
    upper = smooth >= otsu(smooth)
    if upper.all():
        return None
    high, low = smooth[upper].mean(), smooth[~upper].mean()
    if high - low < LEAST_CONTRAST * smooth.mean():
        return None
    bright = smooth >= low + CUT * (high - low)
    return bright if bright.float().mean() >= LEAST_SHARE else None


def otsu(values: Tensor) -> Tensor:
    """The threshold () of values of any shape: the least value of the upper part (Otsu 1979)."""
    ordered = values.flatten().double().sort().values
    count = len(ordered)
    below = torch.arange(1, count, dtype=torch.float64, device=values.device)
    sums = ordered.cumsum(0)
    lower = sums[:-1] / below
    upper = (sums[-1] - sums[:-1]) / (count - below)
    between = below * (count - below) * (upper - lower).square()
    return ordered[int(between.argmax()) + 1].to(values.dtype)


def _smoothed(values: Tensor) -> Tensor:
    """A Gaussian over the cells (h, w) of a box, in which nothing outside it takes part."""
    deviation = SMOOTHING * max(values.shape)
    reach = math.ceil(2 * deviation)
    places = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
    weights = torch.exp(-0.5 * (places / deviation).square())
    both = torch.stack((values, torch.ones_like(values)))[:, None]
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        kernel = weights.view(shape)
        both = F.conv2d(both, kernel, padding=(kernel.shape[2] // 2, kernel.shape[3] // 2))
    return (both[0] / both[1])[0]


def _within(mask: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """A mask (h, w) as one `FINER` times as fine, without what lies outside the box."""
    fine = mask.repeat_interleave(FINER, 0).repeat_interleave(FINER, 1)
    x0, y0, x1, y1 = box_cells(box, (fine.shape[0], fine.shape[1]))
    inside = torch.zeros_like(fine)
    inside[y0:y1, x0:x1] = True
    return fine & inside
