"""Override of a transformer's attention in one call with captions, over whatever is installed by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelMismatchError
from .joined import Joined

# Entry of transformer_options with a function that ComfyUI calls in the place of its attention.
OVERRIDE = "optimized_attention_override"
# ComfyUI's attentions that compute in full precision what torch's kernels do; for these torch's are called.
EXACT = ("attention_basic", "attention_split", "attention_sub_quad", "attention_pytorch")

# Options of a call that an ordinary one for a group does without.
UNUSUAL = ("mask", "skip_output_reshape")


class JoinedAttention:
    """Attention in which each row sees what it may; calls of other shapes are handed on."""

    def __init__(self, previous: Callable[..., Tensor] | None, joined: Joined) -> None:
        self.previous = previous
        self.joined = joined

    def __call__(
        self, chosen: Any, query: Tensor, key: Tensor, value: Tensor, heads: int, *rest: Any, **options: Any
    ) -> Tensor:
        split = bool(options.get("skip_reshape"))
        tokens = 2 if split else 1
        kind = self._kind(len(query), query.shape[tokens], key.shape[tokens])
        if (
            kind is None
            and self.joined.turns
            and query.shape[tokens] == key.shape[tokens] > self.joined.cells
        ):
            # The picture alone, before it meets the text.
            query, key = (self.joined.filled_up(one, self.joined.cells) for one in (query, key))
        if kind is None:
            return self._plain(chosen, query, key, value, heads, *rest, **options)
        mask = rest[0] if rest else options.get("mask")
        if mask is not None:
            raise ModelMismatchError(
                f"{self.joined.family.title} hides a part of its text or picture in this call, which Draw "
                "Regions cannot join with. Take off the node that adds a mask to the prompt."
            )
        inputs = [one if split else _for_heads(one, heads) for one in (query, key, value)]
        whole = torch.cat([self._chunk(kind, n, chosen, inputs, heads, options) for n in self._chunks()])
        return whole if options.get("skip_output_reshape") else whole.transpose(1, 2).flatten(2)

    def _kind(self, rows: int, queries: int, keys: int) -> str | None:
        joined = self.joined
        if rows != joined.rows * len(joined.texts):
            return None
        if joined.family.crossed:
            if keys == joined.length and queries >= joined.cells:
                return "crossed"
            isolated = any(text.group is not None and text.group.placed.isolated for text in joined.texts)
            return "picture" if isolated and queries == keys >= joined.cells else None
        if queries != keys:
            return None
        if queries == joined.length:
            return "text"
        return "joint" if queries >= joined.length + joined.cells else None

    def _chunks(self) -> range:
        return range(len(self.joined.texts))

    def _chunk(
        self, kind: str, chunk: int, chosen: Any, inputs: list[Tensor], heads: int, options: dict[str, Any]
    ) -> Tensor:
        rows = slice(chunk * self.joined.rows, (chunk + 1) * self.joined.rows)
        query, key, value = (one[rows] for one in inputs)
        if kind == "joint":
            query, key = self.joined.turned(query, chunk), self.joined.turned(key, chunk)
        groups = self.joined.groups(kind, chunk, query.shape[2], query.device)
        if self.previous is None and getattr(chosen, "__name__", "") in EXACT and "scale" not in options:
            return groups.attend(query, key, value)

        def kernel(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            usual = {name: one for name, one in options.items() if name not in UNUSUAL}
            usual["skip_reshape"] = True
            return _for_heads(self._plain(chosen, query, key, value, heads, **usual), heads)

        return groups.attend_each(query, key, value, kernel)

    def _plain(self, chosen: Any, *inputs: Any, **options: Any) -> Tensor:
        if self.previous is None:
            return chosen(*inputs, **options)
        return self.previous(chosen, *inputs, **options)


def _for_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, n, heads * d) or (B, n, heads, d), as ComfyUI takes both -> (B, heads, n, d)."""
    if tokens.ndim == 4:
        return tokens.transpose(1, 2)
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)
