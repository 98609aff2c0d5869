"""The attn2 patch that adds instances on top of whatever attention is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from ...models.ifadapter import InstancePrompt, Regions, semantic_map
from .layers import Block
from .terms import AdaptedLayers

Attention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]

# ComfyUI's mark of the negative among `cond_or_uncond`.
UNCONDITIONAL = 1
# Where attention couple packs note the rows they made: ComfyUI-ppm, comfyui-prompt-control.
COUPLE_MAPS = ("cond_or_uncond_couple", "cond_or_uncond_hook_couple")


@dataclass(frozen=True, eq=False)
class Group:
    """Chunks of a UNet batch that share gates, regions and strength, each with its own keys and values."""

    layers: AdaptedLayers
    chunks: tuple[int, ...]
    prompts: tuple[InstancePrompt, ...]
    strength: float
    regions: Regions
    active: tuple[bool, ...]

    def term(self, block: Block, queries: Sequence[Tensor], grid: tuple[int, int]) -> Sequence[Tensor]:
        """What one layer adds for the queries (rows, L, C) of each of the group's chunks."""
        placement = self.regions.place(grid, self.active, queries[0].device)
        if placement is None:
            return [torch.zeros_like(query) for query in queries]
        number = self.layers.blocks[block]
        keys = torch.stack([prompt.keys[number] for prompt in self.prompts])
        values = torch.stack([prompt.values[number] for prompt in self.prompts])
        term = semantic_map(torch.cat(tuple(queries)), keys, values, self.layers.gates[number], placement)
        return (self.strength * term).split(len(queries[0]))


@dataclass(frozen=True, eq=False)
class InstanceAttentionPatch:
    """One attn2 layer of one UNet call.

    `base` is the patch found there, None for plain attention; `labels` are the UNet call's `cond_or_uncond`,
    one for each chunk of `rows` rows.
    """

    base: Attention | None
    block: Block
    groups: tuple[Group, ...]
    labels: tuple[int, ...]
    rows: int

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
        attended = (self.base or _plain_attention)(query, key, value, extra_options)
        grid = tuple(extra_options["activations_shape"][-2:])
        chunks = query.split(self.rows)
        copies = copies_of_chunks(self.labels, len(query), self.rows, extra_options)
        first = [0, *accumulate(copies)]
        added = torch.zeros_like(attended)
        for group in self.groups:
            term = group.term(self.block, [chunks[first[index]] for index in group.chunks], grid)
            for index, part in zip(group.chunks, term, strict=True):
                # Couple masks sum to 1 in every place, so each copy of a chunk gets the whole term.
                for copy in range(first[index], first[index + 1]):
                    added[copy * self.rows : (copy + 1) * self.rows] += part
        return attended + added


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
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
