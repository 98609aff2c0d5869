"""Override of a transformer's attention in one call with captions, over whatever is installed by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .....models.attention.log_sum_exp import attend
from .....models.attention.row_groups import RowGroups, for_heads
from ..errors import ModelMismatchError
from ..layer_call import Block, Group
from .call import ReadingCall
from .joined import Joined
from .presets import layer_key

# Entry of transformer_options with a function that ComfyUI calls in the place of its attention.
OVERRIDE = "optimized_attention_override"
# Entry of ours with the same function, which stays where another pack takes the other one away.
OURS = "instance_composer_attention"
# ComfyUI's attentions that compute in full precision what torch's kernels do; for these torch's are called.
EXACT = ("attention_basic", "attention_split", "attention_sub_quad", "attention_pytorch")

# Options of a call that an ordinary one for a group does without.
UNUSUAL = ("mask", "skip_output_reshape")


class JoinedAttention:
    """Attention in which each row sees what it may, and `groups` read and add; other calls are handed on."""

    def __init__(
        self, previous: Callable[..., Tensor] | None, joined: Joined, groups: Sequence[Group] = ()
    ) -> None:
        self.previous = previous
        self.joined = joined
        self.groups = groups
        # Blocks in which the picture has read text, and calls that might be of picture or text.
        self._read = 0
        self._alike = 0
        # Number of the block that is running, None where nobody knows.
        self._running: int | None = None

    @property
    def reached(self) -> bool:
        """Whether the picture has read text through it."""
        return self._read > 0

    @contextmanager
    def following(self) -> Iterator[None]:
        """Inside the `with` block it is told which of the transformer's blocks is running.

        Another node may leave blocks out (skip layer guidance, a cache), so calls cannot be counted for that.
        """
        blocks = self.joined.family.blocks(self.joined.transformer)
        handles = [
            block.register_forward_pre_hook(partial(self._enter, number))
            for number, block in enumerate(blocks)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, number: int, _block: Any, _inputs: tuple[Any, ...]) -> None:
        self._running = number
        self._alike = 0

    @property
    def _block(self) -> Block:
        """Key of the block that asks, by counting where another pack does not call blocks as modules."""
        return layer_key(self._read if self._running is None else self._running)

    def __call__(
        self, chosen: Any, query: Tensor, key: Tensor, value: Tensor, heads: int, *rest: Any, **options: Any
    ) -> Tensor:
        split = bool(options.get("skip_reshape"))
        tokens = 2 if split else 1
        kind = self._kind(len(query), query.shape[tokens], key.shape[tokens])
        if (
            kind is None
            and self.joined.turns
            and self.joined.joins
            and query.shape[tokens] == key.shape[tokens] > self.joined.cells
        ):
            # The picture alone, before it meets the text.
            query, key = (self.joined.filled_up(one, self.joined.cells) for one in (query, key))
        if kind in ("joint", "crossed"):
            return self._reading(kind, chosen, query, key, value, heads, *rest, **options)
        if kind is None or not self.joined.joins:
            return self._plain(chosen, query, key, value, heads, *rest, **options)
        self._check(_mask(rest, options))
        inputs = [one if split else _for_heads(one, heads) for one in (query, key, value)]
        block = self._block
        chunks = [self._chunk(kind, block, n, chosen, inputs, heads, options) for n in self._chunks()]
        whole = torch.cat([output for output, _ in chunks])
        return whole if options.get("skip_output_reshape") else _together(whole)

    def _reading(
        self,
        kind: str,
        chosen: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        heads: int,
        *rest: Any,
        **options: Any,
    ) -> Tensor:
        """A call in which the picture reads text."""
        block = self._block
        self._read += 1
        here = [group for group in self.groups if block in group.blocks]
        split, apart = bool(options.get("skip_reshape")), bool(options.get("skip_output_reshape"))
        mask = _mask(rest, options)
        inputs = [one if split else _for_heads(one, heads) for one in (query, key, value)]
        sums: dict[int, Tensor] = {}
        if self.joined.joins:
            self._check(mask)
            chunks = [self._chunk(kind, block, n, chosen, inputs, heads, options) for n in self._chunks()]
            whole = torch.cat([output for output, _ in chunks])
            sums = {n: found for n, (_, found) in enumerate(chunks) if found is not None}
        elif mask is None and self._exact(chosen, options) and any(group.adds for group in here):
            # What the model would compute, by a kernel that also says how much it attended.
            key_value = (for_heads(one, heads) for one in inputs[1:])
            whole, found = attend(inputs[0], *key_value)
            sums = dict(enumerate(found.split(self.joined.rows)))
        else:
            whole = self._plain(chosen, query, key, value, heads, *rest, **options)
            if not here:
                return whole
            whole = whole if apart else _for_heads(whole, heads)
        if not here:
            return whole if apart else _together(whole)
        scale = options.get("scale")
        if scale is not None:
            inputs[0] = inputs[0] * (scale * inputs[0].shape[-1] ** 0.5)

        def groups(chunk: int) -> RowGroups | None:
            if not self.joined.joins:
                return None
            return self.joined.groups(kind, block, chunk, inputs[0].shape[2], inputs[0].device)

        call = ReadingCall(
            block,
            self.joined,
            kind == "crossed",
            lambda chunk: self._inputs(kind, chunk, inputs),
            _together(whole),
            groups,
            sums,
            heads,
            mask is not None,
        )
        for group in here:
            group.act(call)
        found = call.result()
        return _for_heads(found, heads) if apart else found

    def _kind(self, rows: int, queries: int, keys: int) -> str | None:
        joined = self.joined
        if rows != joined.rows * len(joined.texts):
            return None
        if joined.family.crossed:
            if keys == joined.length and queries >= joined.cells:
                if queries != keys or joined.joins:
                    return "crossed"
                # As many cells as words: a block asks the picture first, then the text.
                self._alike += 1
                return "crossed" if self._alike % 2 == 0 else None
            isolated = any(group is not None and group.placed.isolated for group in joined.texts)
            return "picture" if isolated and queries == keys >= joined.cells else None
        if queries != keys:
            return None
        if queries == joined.length:
            return "text"
        return "joint" if queries >= joined.length + joined.cells else None

    def _chunks(self) -> range:
        return range(len(self.joined.texts))

    def _check(self, mask: Any) -> None:
        if mask is not None:
            raise ModelMismatchError(
                f"{self.joined.family.title} hides a part of its text or picture in this call, which Draw "
                "Regions cannot join with. Take off the node that adds a mask to the prompt."
            )

    def _inputs(self, kind: str, chunk: int, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of one chunk, every token at its place."""
        rows = slice(chunk * self.joined.rows, (chunk + 1) * self.joined.rows)
        query, key, value = (one[rows] for one in inputs)
        if kind == "joint" and self.joined.joins:
            query, key = self.joined.turned(query, chunk), self.joined.turned(key, chunk)
        return query, key, value

    def _chunk(
        self,
        kind: str,
        block: Block,
        chunk: int,
        chosen: Any,
        inputs: list[Tensor],
        heads: int,
        options: dict[str, Any],
    ) -> tuple[Tensor, Tensor | None]:
        """Output of one chunk, and its log-sum-exp where a kernel has told it."""
        query, key, value = self._inputs(kind, chunk, inputs)
        groups = self.joined.groups(kind, block, chunk, query.shape[2], query.device)
        if self._exact(chosen, options):
            return groups.attend_with_sums(query, key, value)

        def kernel(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            usual = {name: one for name, one in options.items() if name not in UNUSUAL}
            usual["skip_reshape"] = True
            return _for_heads(self._plain(chosen, query, key, value, heads, **usual), heads)

        return groups.attend_each(query, key, value, kernel), None

    def _exact(self, chosen: Any, options: dict[str, Any]) -> bool:
        """Whether torch's kernels compute what would be called."""
        return self.previous is None and getattr(chosen, "__name__", "") in EXACT and "scale" not in options

    def _plain(self, chosen: Any, *inputs: Any, **options: Any) -> Tensor:
        if self.previous is None:
            return chosen(*inputs, **options)
        return self.previous(chosen, *inputs, **options)


def _mask(rest: Sequence[Any], options: dict[str, Any]) -> Any:
    return rest[0] if rest else options.get("mask")


def _together(tokens: Tensor) -> Tensor:
    """(B, heads, n, d) -> (B, n, heads * d)."""
    return tokens.transpose(1, 2).flatten(2)


def _for_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, n, heads * d) or (B, n, heads, d), as ComfyUI takes both -> (B, heads, n, d)."""
    if tokens.ndim == 4:
        return tokens.transpose(1, 2)
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)
