"""Texts placed in a picture: captions of instances, where they are, and how much they sway attention there.

In a UNet they act layer by layer on cross-attention. Transformers read them beside the prompt: their binder
takes the groups of this kind and joins the texts (`transformer.binder`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....models.attention import seeing
from ....models.attention.row_groups import RowGroups
from ....models.attention.seeing import Sway
from ....models.regions import Placement, Regions
from .layer_call import Block, CrossedCall
from .run_cache import RunCache
from .text import Text


@dataclass(frozen=True, eq=False)
class Caption:
    """An instance's caption as the CLIP encoded it: `text` (1, n, width), and what else came with it.

    `words` are the places of its tokens without the padding up to a length of the tokenizer's own; `spoken`
    those without marks of start and end either, None where nobody knows.
    """

    text: Tensor
    values: Mapping[str, Any]
    words: slice
    spoken: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Placed:
    """Captions and regions of one conditioning at one step; `active` are those that act there."""

    captions: tuple[Caption, ...]
    regions: Regions
    active: tuple[bool, ...]
    strength: float
    prompt: float
    isolated: bool

    def placement(self, grid: tuple[int, int], device: torch.device) -> Placement | None:
        """The acting instances on a grid; None where none touches it."""
        return self.regions.place(grid, self.active, device)

    @property
    def acting(self) -> tuple[Caption, ...]:
        """Captions of the acting instances, in stacking order."""
        return tuple(one for one, acts in zip(self.captions, self.active, strict=True) if acts)

    @property
    def sway(self) -> Sway:
        """Of the acting instances, in stacking order."""
        strengths = zip(self.regions.strengths, self.active, strict=True)
        return Sway(tuple(self.strength * one for one, acts in strengths if acts), self.prompt, self.isolated)


@dataclass(frozen=True, eq=False)
class PlacedGroup:
    """The placed texts of one chunk of a call.

    `blocks` are the layers that they act in: a UNet's cross-attention layers; of a transformer, whose binder
    reads `placed`, none stands for all.
    """

    chunk: int
    placed: Placed
    text: Text
    cache: RunCache
    blocks: Collection[Block]

    @property
    def adds(self) -> bool:
        return True

    def act(self, call: CrossedCall) -> None:
        """Adds what an instance's rows get when they see its caption, less what they got."""
        query, key, value = call.inputs(self.chunk)
        own = self.text.own_keys(key.shape[1], call.text_rows)
        captions = [call.project(*self._halves(one.text, query)) for one in self.placed.acting]
        groups = self._groups(call.grid, own, tuple(key.shape[1] for key, _ in captions), query.device)
        if groups is None or not groups.groups:
            return
        keys = torch.cat([key[:, :own], *(key.expand(len(query), -1, -1) for key, _ in captions)], 1)
        values = torch.cat([value[:, :own], *(value.expand(len(query), -1, -1) for _, value in captions)], 1)
        heads = [one.unflatten(-1, (call.heads, -1)).transpose(1, 2) for one in (query, keys, values)]
        seen = groups.attend(*heads).transpose(1, 2).flatten(2)
        rows = torch.cat([group.rows for group in groups.groups])
        term = torch.zeros_like(query)
        term[:, rows] = seen[:, rows] - call.plain(self.chunk)[:, rows]
        call.add(self.chunk, term)

    def _halves(self, text: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """A caption for keys and for values: the same, unless a pack writes a row for each (NegPip)."""
        text = text.to(query)
        doubled = self.text.rows == 2 * self.text.tokens
        return (text[:, 0::2], text[:, 1::2]) if doubled else (text, text)

    def _groups(
        self, grid: tuple[int, int], prompt: int, lengths: tuple[int, ...], device: torch.device
    ) -> RowGroups | None:
        def make() -> RowGroups | None:
            placement = self.placed.placement(grid, device)
            if placement is None:
                return None
            owner = seeing.owners(placement.covered.flatten(1)).to(device)
            places = torch.arange(prompt + sum(lengths), device=device).split([prompt, *lengths])
            sway, spoken = self.placed.sway, self._spoken(places[1:])
            return seeing.crossed(places[0], places[1:], owner, sway, background=False, spoken=spoken)

        placed = self.placed
        how = (placed.regions, placed.active, placed.sway)
        return self.cache.get((how, grid, prompt, lengths, device), make)

    def _spoken(self, places: Sequence[Tensor]) -> list[Tensor | None]:
        """Places of the words of each acting caption, by those of all its tokens among the keys."""
        return [own_places(one.spoken, own) for one, own in zip(self.placed.acting, places, strict=True)]


def own_places(spoken: tuple[int, ...] | None, places: Tensor) -> Tensor | None:
    """Those of a caption's places that are its words'."""
    if spoken is None or not spoken or spoken[-1] >= len(places):
        return None
    return places[list(spoken)]
