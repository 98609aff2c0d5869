"""The attn2 patch that adds terms on top of whatever attention is installed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from .layers import Block

Attention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]

# ComfyUI's mark of the negative among `cond_or_uncond`.
UNCONDITIONAL = 1
# Where attention couple packs note the rows they made: ComfyUI-ppm, comfyui-prompt-control.
COUPLE_MAPS = ("cond_or_uncond_couple", "cond_or_uncond_hook_couple")


class Group(Protocol):
    """Terms of one kind in one UNet call, of one or several of its chunks."""

    @property
    def blocks(self) -> Collection[Block]:
        """Keys of the layers it acts on."""
        ...

    def act(self, call: LayerCall) -> None:
        """Adds to the layer what its terms add, or reads what they read."""
        ...


@dataclass(frozen=True, eq=False)
class AttentionPatch:
    """One attn2 layer of one UNet call, with terms on top of what is installed there.

    `base` is the patch found there, None for plain attention; `labels` are the UNet call's `cond_or_uncond`,
    one for each chunk of `rows` rows.
    """

    base: Attention | None
    block: Block
    groups: tuple[Group, ...]
    labels: tuple[int, ...]
    rows: int

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
        call = LayerCall(self, query, key, value, extra_options)
        for group in self.groups:
            group.act(call)
        return call.result()


class LayerCall:
    """What one layer was given in one UNet call, and what is added to its attention.

    The conditionings of the call are numbered chunks of equal size. An attention couple pack repeats a chunk
    for its regions; the first copy is the prompt's own.
    """

    def __init__(
        self,
        patch: AttentionPatch,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        extra_options: dict[str, Any],
    ) -> None:
        self.block = patch.block
        self.grid: tuple[int, int] = tuple(extra_options["activations_shape"][-2:])
        self.heads: int = extra_options["n_heads"]
        self._options = extra_options
        self._inputs = (query, key, value)
        self._has_base = patch.base is not None
        self._rows = patch.rows
        copies = copies_of_chunks(patch.labels, len(query), patch.rows, extra_options)
        self._first = [0, *accumulate(copies)]
        self._attended = (patch.base or plain_attention)(query, key, value, extra_options)
        self._added: Tensor | None = None

    def query(self, chunk: int) -> Tensor:
        """(rows, L, C) of one chunk."""
        return self._inputs[0][self._own_rows(chunk)]

    def inputs(self, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
        """Query (rows, L, C), key and value (rows, T, C) of one chunk."""
        query, key, value = (x[self._own_rows(chunk)] for x in self._inputs)
        return query, key, value

    def plain(self, chunk: int) -> Tensor:
        """What one chunk's attention is without any patch: (rows, L, C)."""
        if not self._has_base:
            return self._attended[self._own_rows(chunk)]
        return plain_attention(*self.inputs(chunk), self._options)

    def add(self, chunk: int, term: Tensor) -> None:
        """Adds (rows, L, C) to the prompt's own rows of one chunk."""
        self._sum()[self._own_rows(chunk)] += term

    def add_to_copies(self, chunk: int, term: Tensor) -> None:
        """Adds (rows, L, C) to one chunk and all its copies."""
        for copy in range(self._first[chunk], self._first[chunk + 1]):
            self._sum()[copy * self._rows : (copy + 1) * self._rows] += term

    def result(self) -> Tensor:
        return self._attended if self._added is None else self._attended + self._added

    def _own_rows(self, chunk: int) -> slice:
        start = self._first[chunk] * self._rows
        return slice(start, start + self._rows)

    def _sum(self) -> Tensor:
        if self._added is None:
            self._added = torch.zeros_like(self._attended)
        return self._added


def plain_attention(query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
    """What a layer without a patch computes, attention overrides of other packs included."""
    return optimized_attention(
        query,
        key,
        value,
        extra_options["n_heads"],
        attn_precision=extra_options.get("attn_precision"),
        transformer_options=extra_options,
    )


def copies_of_chunks(
    labels: Sequence[int], rows: int, chunk_rows: int, extra_options: Mapping[str, Any]
) -> list[int]:
    """How often each chunk of the UNet batch occurs among the rows of an attention layer.

    Once, unless an attention couple pack repeats the conditional chunks for its regions. ValueError if the
    rows cannot be explained.
    """
    total, rest = divmod(rows, chunk_rows)
    unconditional = sum(label == UNCONDITIONAL for label in labels)
    conditional = len(labels) - unconditional
    # Some packs keep no map; they repeat conditional chunks alone.
    expanded_unconditional = unconditional
    for name in COUPLE_MAPS:
        if len(expanded := extra_options.get(name, ())) == total:
            expanded_unconditional = sum(label == UNCONDITIONAL for label in expanded)
            break
    each = {
        True: _share(expanded_unconditional, unconditional),
        False: _share(total - expanded_unconditional, conditional),
    }
    copies = [each[label == UNCONDITIONAL] for label in labels]
    if rest or None in copies or sum(c or 0 for c in copies) != total:
        raise ValueError(
            f"A cross-attention layer has {rows} rows where {len(labels)} conditionings of {chunk_rows} were "
            "expected. Another node pack on this MODEL changes the batch inside the UNet in a way Instance "
            "Composer does not know; take its nodes off this MODEL, or use them in a second sampling pass."
        )
    return [c or 0 for c in copies]


def _share(total: int, parts: int) -> int | None:
    if not parts:
        return 0 if total == 0 else None
    return total // parts if total % parts == 0 and total > 0 else None
