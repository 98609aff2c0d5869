"""Self-attention of a UNet while instances are isolated: an instance's cells see one another alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .....models.attention import seeing
from .....models.attention.row_groups import RowGroups
from ..layer_call import ModelCall
from ..placed import PlacedGroup
from .patch import Attention, plain_attention

NOT_ISOLATED = (
    "isolate of Draw Regions has no effect in some layers of this run: another node on this MODEL merges, "
    "tiles or repeats the picture's places there (ToMe, HyperTile). Take it off, or set isolate to 0."
)

logger = logging.getLogger("instance_composer")


@dataclass(frozen=True, eq=False)
class IsolatingPatch:
    """One attn1 layer of one UNet call.

    `base` is the patch found there, None for plain attention; `preferred` is the attention that the
    checkpoint chose for the layer.
    """

    base: Attention | None
    groups: Sequence[PlacedGroup]
    call: ModelCall
    preferred: Any = None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
        if self.base is None:
            attended = plain = plain_attention(query, key, value, extra_options, self.preferred)
        else:
            attended = self.base(query, key, value, extra_options)
            plain = plain_attention(query, key, value, extra_options, self.preferred)
        height, width = extra_options["activations_shape"][-2:]
        explained = len(query) == self.call.rows * len(self.call.labels)
        if not explained or not query.shape[1] == key.shape[1] == height * width:
            # Where another pack leaves tokens out nobody knows whose they are.
            self.groups[0].cache.get(NOT_ISOLATED, lambda: logger.warning(NOT_ISOLATED))
            return attended
        whole = attended.clone()
        for group in self.groups:
            rows = slice(group.chunk * self.call.rows, (group.chunk + 1) * self.call.rows)
            seen = _groups(group, (height, width), query.device)
            if seen is None or not seen.groups:
                continue
            heads = extra_options["n_heads"]
            split = [one[rows].unflatten(-1, (heads, -1)).transpose(1, 2) for one in (query, key, value)]
            alone = seen.attend(*split).transpose(1, 2).flatten(2)
            for one in seen.groups:
                whole[rows, one.rows] = attended[rows, one.rows] + alone[:, one.rows] - plain[rows, one.rows]
        return whole


def _groups(group: PlacedGroup, grid: tuple[int, int], device: torch.device) -> RowGroups | None:
    placed = group.placed

    def make() -> RowGroups | None:
        placement = placed.placement(grid, device)
        if placement is None:
            return None
        owner = seeing.owners(placement.covered.flatten(1)).to(device)
        return seeing.within(owner, placed.sway, background=False)

    return group.cache.get(("isolated", placed.regions, placed.active, placed.sway, grid, device), make)
