"""Targets of attribute concentration: entities' tokens, their regions, and masks of those on a token grid."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..attention.heat_maps import OWN_REGION, stretch
from ..regions import Regions

NOWHERE = (0.0, 0.0, 0.0, 0.0)


class Members(NamedTuple):
    """Indices of the K tokens, and (E, K) which of them belong to which entity: as 1, as the entity's
    strength, and those of its noun. `derived` (E, 1) marks the self-derived entities, None if there are none.
    The last three are constants: 1 of (1, 1, 1), ones of (1, 1, K), and -1 of (1,).
    """

    tokens: Tensor
    members: Tensor
    weighted: Tensor
    nouns: Tensor
    derived: Tensor | None
    one: Tensor
    ones: Tensor
    minus: Tensor


@dataclass(frozen=True, eq=False)
class Targets:
    """Entities to concentrate, E of them.

    `groups` are the tokens of each entity, noun and modifiers; `nouns` those of its noun alone. `regions` has
    one entry for each entity, `NOWHERE` for one that should have no attention (the empty mask of the paper)
    and for one in `self_derived`, whose region is read from the attention its noun gets. `made` keeps what
    the users of targets make of them once.
    """

    groups: tuple[tuple[int, ...], ...]
    nouns: tuple[tuple[int, ...], ...]
    regions: Regions
    self_derived: tuple[bool, ...]
    made: dict[Hashable, Any] = field(default_factory=dict[Hashable, Any], init=False, repr=False)
    _masks: dict[tuple[tuple[int, int], str], Tensor] = field(default_factory=dict, init=False, repr=False)
    _members: dict[tuple[str, tuple[bool, ...]], Members] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        count = len(self.groups)
        if not (count == len(self.nouns) == len(self.regions) == len(self.self_derived)):
            raise ValueError(
                f"there are {count} groups of tokens, {len(self.nouns)} nouns, {len(self.regions)} regions "
                f"and {len(self.self_derived)} marks; each entity has one of each"
            )

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """The tokens of all entities, each once, in order: K of them."""
        return tuple(sorted({token for group in self.groups for token in group}))

    def crop(self, regions: Regions) -> Targets:
        """The same entities with their regions as a part of the picture sees them."""
        return Targets(self.groups, self.nouns, regions, self.self_derived)

    def masks(self, grid: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        """The regions on a grid of (height, width) cells: float (E, height * width), 0 or 1. Cached."""
        key = (grid, str(device))
        if key not in self._masks:
            placement = self.regions.place(grid)
            nowhere = torch.zeros(len(self.groups), *grid)
            masks = nowhere if placement is None else placement.covered.float()
            self._masks[key] = masks.flatten(1).to(device)
        return self._masks[key]

    def members(self, device: torch.device | str, active: tuple[bool, ...] | None = None) -> Members:
        """Membership of `tokens` in entities; those that are not active have no weight. Cached."""
        active = active or (True,) * len(self.groups)
        key = (str(device), active)
        if key not in self._members:
            strengths = [s * acts for s, acts in zip(self.regions.strengths, active, strict=True)]
            members = self._rows(self.groups)
            derived = torch.tensor(self.self_derived, device=device)[:, None]
            self._members[key] = Members(
                tokens=torch.tensor(self.tokens, device=device),
                members=members.to(device),
                weighted=(members * torch.tensor(strengths)[:, None]).to(device),
                nouns=self._rows(self.nouns).to(device),
                derived=derived if any(self.self_derived) else None,
                one=torch.ones(1, 1, 1, device=device),
                ones=torch.ones(1, 1, len(self.tokens), device=device),
                minus=torch.tensor([-1.0], device=device),
            )
        return self._members[key]

    def indices(self, device: torch.device | str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """`groups` and `nouns` as tensors of integers. Cached."""
        key = ("indices", str(device))
        if key not in self.made:
            self.made[key] = tuple(
                tuple(torch.tensor(tokens, dtype=torch.long, device=device) for tokens in kind)
                for kind in (self.groups, self.nouns)
            )
        return self.made[key]

    def _rows(self, groups: tuple[tuple[int, ...], ...]) -> Tensor:
        return torch.tensor([[float(token in group) for token in self.tokens] for group in groups])


def own_masks(noun_maps: Tensor) -> Tensor:
    """Masks from the attention that nouns get: (B, E, L) -> 0 or 1, same shape.

    A cell belongs to a noun whose map is high there: the one whose map, stretched to 0..1, is the highest,
    or each of those that are equally high.
    """
    stretched = stretch(noun_maps[..., None])[..., 0]
    highest = stretched == stretched.amax(1, keepdim=True)
    return (highest & (stretched >= OWN_REGION)).to(noun_maps.dtype)
