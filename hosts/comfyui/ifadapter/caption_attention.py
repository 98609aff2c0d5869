"""Attention that a picture pays to the captions of its instances, read beside the adapter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....models.attention.probabilities import token_probabilities
from ..attention.layer_call import Block, CrossedCall
from ..attention.placed import Caption
from ..attention.silhouettes import Growing


@dataclass(frozen=True, eq=False)
class CaptionAttention:
    """Captions of the instances `ids` as the prompt's CLIP reads them, and the layers that are read."""

    ids: tuple[str, ...]
    captions: tuple[Caption, ...]
    blocks: Collection[Block]
    growing: Growing

    def of(self, ids: Sequence[str]) -> CaptionAttention:
        """The same of some of the instances, in this order."""
        places = [self.ids.index(one) for one in ids]
        names = tuple(self.growing.names[place] for place in places)
        return replace(
            self,
            ids=tuple(ids),
            captions=tuple(self.captions[place] for place in places),
            growing=replace(self.growing, names=names),
        )

    @torch.no_grad()
    def maps(self, call: CrossedCall, chunk: int, doubled: bool) -> Tensor:
        """The share of attention (rows, P, h, w) that each caption's words get, were it the prompt.

        `doubled` where texts have two rows for each token (`text.Text`).
        """
        query = call.query(chunk)
        found = [self._map(query, caption, call, doubled) for caption in self.captions]
        return torch.stack(found, 1).unflatten(-1, call.grid)

    def _map(self, query: Tensor, caption: Caption, call: CrossedCall, doubled: bool) -> Tensor:
        text = caption.text.to(query)
        text = text[:, 0::2] if doubled else text
        key, _ = call.project(text, text)
        # Start and end of the text are no words.
        words = range(*caption.words.indices(key.shape[1]))[1:-1]
        probabilities = token_probabilities(query, key.expand(len(query), -1, -1), call.heads, list(words))
        return probabilities.mean(1).sum(-1)
