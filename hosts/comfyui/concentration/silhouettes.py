"""Silhouettes of entities in a sampling run, grown from the attention that their nouns get."""

from __future__ import annotations

import torch
from torch import Tensor

from ....models.concentration import Targets
from ..attention.run_cache import RunCache
from ..attention.silhouettes import Growing, Grown


class GrownTargets:
    """The targets of each picture of a run, once silhouettes have taken the place of their boxes."""

    def __init__(self, targets: Targets, grown: Grown) -> None:
        self._targets = targets
        self._grown = grown
        self._rows: dict[int, tuple[Targets, ...]] = {}
        groups = [noun or group for noun, group in zip(targets.nouns, targets.groups, strict=True)]
        # An entity's map is that of its noun: attributes have attention elsewhere too.
        self._belongs = torch.tensor([[float(token in own) for own in groups] for token in targets.tokens])

    @classmethod
    def of(cls, growing: Growing, targets: Targets, cache: RunCache) -> GrownTargets:
        grown = Grown.of(growing, targets.regions, cache)
        return cache.get(("silhouettes", growing, targets), lambda: cls(targets, grown))

    def add(self, maps: Tensor, guiding: bool = False) -> None:
        """The attention (B, h, w, K) of the targets' tokens in one layer at one step; see `Grown.add`."""
        self._grown.add((maps.detach() @ self._belongs.to(maps)).movedim(-1, 1), guiding)

    def rows(self, count: int) -> tuple[Targets, ...]:
        """Of each of `count` pictures; of all of them where one serves all."""
        if count not in self._rows:
            self._rows[count] = tuple(self._targets.crop(one) for one in self._grown.rows(count))
        return self._rows[count]
