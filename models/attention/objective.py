"""Objective of guidance: an energy of one picture's attention maps, over layers of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

Grid = tuple[int, int]


class Energy(NamedTuple):
    """A differentiable scalar, and how far its aim is from being reached: 0 to 1, without gradient."""

    value: Tensor
    distance: Tensor


# Maps (heads, h, w, T) of one picture and which entities act -> its energy.
Objective = Callable[[Sequence[Tensor], tuple[bool, ...]], Energy]


def maps_by_size(maps: Sequence[Tensor]) -> Mapping[Grid, list[Tensor]]:
    """Maps (heads, h, w, T) of the same (h, w) together."""
    sizes: dict[Grid, list[Tensor]] = {}
    for one in maps:
        sizes.setdefault((one.shape[1], one.shape[2]), []).append(one)
    return sizes
