"""What one prompt's instances need while sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..regions import Regions


@dataclass(frozen=True, eq=False)
class InstancePrompt:
    """Regions, and the keys and values of their tokens in every adapted layer.

    `keys` and `values` map official processor numbers to (P, heads, N, head_dim). Made once per prompt by
    `IFAdapter.prompt`; the adapter itself is not needed afterwards.
    """

    regions: Regions
    keys: dict[int, Tensor]
    values: dict[int, Tensor]

    def to(self, device: torch.device | str) -> InstancePrompt:
        """The same prompt on another device."""
        return replace(
            self,
            keys={n: k.to(device) for n, k in self.keys.items()},
            values={n: v.to(device) for n, v in self.values.items()},
        )
