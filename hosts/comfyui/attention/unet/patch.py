"""Patch of one cross-attention layer, which lets groups act on top of whatever attention is installed.

It decides which rows of a layer's batch are which conditioning's, conditional and unconditional (CFG).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from .....models.attention.probabilities import token_rows
from ..errors import UnexplainedRowsError
from ..layer_call import Block, Group, ModelCall
from ..text import Text
from .layers import transformer_block

Attention = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]

# Mark of the unconditional (negative) prompt in `cond_or_uncond`, ComfyUI's list of what each chunk of the
# batch is.
UNCONDITIONAL = 1
# Entries of transformer_options in which attention couple packs (ComfyUI-ppm, comfyui-prompt-control) list
# the chunks of the batch they made, as `cond_or_uncond` does.
COUPLE_MAPS = ("cond_or_uncond_couple", "cond_or_uncond_hook_couple")


@dataclass(frozen=True, eq=False)
class AttentionPatch:
    """One attn2 layer of one UNet call, with terms on top of what is installed there.

    `base` is the patch found there, None for plain attention; `preferred` is the attention that the
    checkpoint chose for the layer.
    """

    base: Attention | None
    block: Block
    groups: tuple[Group, ...]
    call: ModelCall
    preferred: Any = None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
        call = CrossAttentionCall(self, query, key, value, extra_options)
        for group in self.groups:
            group.act(call)
        return call.result()


class CrossAttentionCall:
    """The `LayerCall` of a cross-attention layer.

    An attention couple pack repeats a chunk for its regions; the first copy is the prompt's own.
    """

    frames = 1

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
        self.text_rows = patch.call.text_rows
        self._labels = patch.call.labels
        self._rows = patch.call.rows
        self._preferred = patch.preferred
        self._running = patch.call.running
        if patch.base is None:
            self._attended = plain_attention(query, key, value, extra_options, patch.preferred)
        else:
            self._attended = patch.base(query, key, value, extra_options)
        # What is to be added to each copy of a chunk.
        self._terms: dict[int, Tensor] = {}

    def query(self, chunk: int) -> Tensor:
        """(rows, L, C) of one chunk."""
        return self._inputs[0][self._own_rows(chunk)]

    def inputs(self, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
        """Query (rows, L, C), key and value (rows, T, C) of one chunk."""
        query, key, value = (x[self._own_rows(chunk)] for x in self._inputs)
        return query, key, value

    def unreadable(self, chunk: int, text: Text) -> str | None:
        """A reason where another pack has changed places or keys."""
        query, key, _ = self.inputs(chunk)
        if query.shape[1] != self.grid[0] * self.grid[1]:
            return "Another node pack changes the number of places in a layer; it is left out."
        own = self.own_tokens(text)
        if not own or key.shape[1] % own or text.tokens % own:
            return "Another node pack changes the length of the prompt; its layers are left out."
        return None

    def own_tokens(self, text: Text) -> int:
        """How many tokens of a text, from its first one on, the layer has keys of."""
        return text.own_keys(self._inputs[1].shape[1], self.text_rows)

    def probabilities(self, chunk: int, text: Text, tokens: Tensor) -> Tensor:
        """Of the text once, though a text shorter than another of the batch comes repeated."""
        query, key, _ = self.inputs(chunk)
        return token_rows(query, key[:, : self.own_tokens(text)], self.heads, tokens)

    def values(self, chunk: int, text: Text, tokens: Tensor) -> Tensor:
        """(rows, K, C) of these tokens."""
        return self.inputs(chunk)[2].index_select(1, tokens)

    def plain(self, chunk: int) -> Tensor:
        """Attention of one chunk as it is without any patch: (rows, L, C)."""
        if not self._has_base:
            return self._attended[self._own_rows(chunk)]
        return plain_attention(*self.inputs(chunk), self._options, self._preferred)

    def project(self, for_keys: Tensor, for_values: Tensor) -> tuple[Tensor, Tensor]:
        """Key and value (1, T, C) of a text (1, T, width), LoRAs included."""
        layer: Any = transformer_block(self._running, self.block).attn2
        return layer.to_k(for_keys), layer.to_v(for_values)

    def add(self, chunk: int, term: Tensor) -> None:
        """Adds (rows, L, C) to the prompt's own rows of one chunk."""
        self._add(self._first[chunk], term)

    def add_to_copies(self, chunk: int, term: Tensor) -> None:
        """Adds (rows, L, C) to one chunk and all its copies."""
        for copy in range(self._first[chunk], self._first[chunk + 1]):
            self._add(copy, term)

    def _add(self, copy: int, term: Tensor) -> None:
        # Terms of the same rows are added up before they meet the attention, so that two of them give the
        # same bits in either order.
        earlier = self._terms.get(copy)
        self._terms[copy] = term if earlier is None else earlier + term

    def result(self) -> Tensor:
        """The attention with all terms; groups that read it before have seen it without."""
        if not self._terms:
            return self._attended
        # What was called may keep its tensor, and autograd may need it as it is.
        whole = self._attended.clone()
        for copy, term in self._terms.items():
            # Not +=, which writes the slice back into itself.
            whole[copy * self._rows : (copy + 1) * self._rows].add_(term)
        return whole

    @cached_property
    def _first(self) -> list[int]:
        """Number of the first copy of each chunk among the layer's copies, and of all copies at the end.

        Looked up when a group asks, so that one that only reads can do without a layer it cannot explain.
        """
        copies = copies_of_chunks(self._labels, len(self._inputs[0]), self._rows, self._options)
        return [0, *accumulate(copies)]

    def _own_rows(self, chunk: int) -> slice:
        start = self._first[chunk] * self._rows
        return slice(start, start + self._rows)


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any], preferred: Any = None
) -> Tensor:
    """Attention of a layer without a patch, attention overrides of other packs included.

    `preferred` is the layer's own choice, for a ComfyUI that has such.
    """
    own = {} if preferred is None else {"preferred_attention": preferred}
    return optimized_attention(
        query,
        key,
        value,
        extra_options["n_heads"],
        attn_precision=extra_options.get("attn_precision"),
        transformer_options=extra_options,
        **own,
    )


def copies_of_chunks(
    labels: Sequence[int], rows: int, chunk_rows: int, extra_options: Mapping[str, Any]
) -> list[int]:
    """Number of copies of each chunk of the UNet batch among the rows of an attention layer.

    Once, unless an attention couple pack repeats the conditional chunks for its regions. Raises
    `UnexplainedRowsError`.
    """
    total, rest = divmod(rows, chunk_rows)
    unconditional = sum(label == UNCONDITIONAL for label in labels)
    conditional = len(labels) - unconditional
    # Packs that note nothing repeat conditional chunks alone.
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
        raise UnexplainedRowsError(
            f"A cross-attention layer has {rows} rows where {len(labels)} conditionings of {chunk_rows} were "
            "expected. Another node pack on this MODEL changes the batch inside the UNet in a way Instance "
            "Composer does not know; take its nodes off this MODEL, or use them in a second sampling pass."
        )
    return [c or 0 for c in copies]


def _share(total: int, parts: int) -> int | None:
    if not parts:
        return 0 if total == 0 else None
    return total // parts if total % parts == 0 and total > 0 else None
