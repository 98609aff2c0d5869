"""Attention in which rows see different keys, without a mask.

Rows (query tokens) that may see the same keys make a group. Each group is an ordinary attention over just its
keys, so that every kernel can compute it, and no tensor is of rows x keys. Where a kernel hands out its
log-sum-exp, pieces that many groups have in common are computed for all of them at once and merged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .blocks import choose_blocks
from .log_sum_exp import attend, sums_dtype

# (query, key, value), each (B, heads, tokens, width) -> (B, heads, rows, width).
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
# Tokens: neighbours as a slice, others by their numbers.
Tokens = slice | Tensor


class Seen(NamedTuple):
    """A piece of the keys, by its number, and how many times each of its keys counts (its weight)."""

    piece: int
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class RowGroup:
    """Rows that see the same pieces of the keys."""

    rows: Tensor
    sees: tuple[Seen, ...]


class _Part(NamedTuple):
    rows: Tokens
    keys: Tokens
    weight: float


@dataclass(frozen=True, eq=False)
class RowGroups:
    """Which rows see which keys.

    `pieces` are disjoint sets of keys and `groups` disjoint sets of rows, all as indices; a row of no group
    gets zeros. A key of weight w counts as if it were there w times: the softmax is of scores + log w.
    """

    pieces: tuple[Tensor, ...]
    groups: tuple[RowGroup, ...]

    @classmethod
    def of(cls, pieces: Sequence[Tensor], groups: Iterable[tuple[Tensor, Sequence[Seen]]]) -> RowGroups:
        """Without rows, pieces and weights that are nothing; groups that see alike are joined."""
        seen: dict[tuple[Seen, ...], list[Tensor]] = {}
        for rows, sees in groups:
            kept = tuple(sorted(one for one in sees if one.weight > 0 and len(pieces[one.piece])))
            if len(rows) and kept:
                seen.setdefault(kept, []).append(rows)
        joined = tuple(RowGroup(torch.cat(rows).sort().values, sees) for sees, rows in seen.items())
        return cls(tuple(pieces), joined)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, H, L, d) by torch's kernels, parts merged by their log-sum-exp.

        key and value (B, h, T, d); H is a multiple of h (grouped-query attention). What most rows see is
        computed in one call, what an instance's rows see beside it in a small one.
        """
        return self.attend_with_sums(query, key, value)[0]

    def attend_with_sums(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """`attend`, and the log-sum-exp (B, H, L) of all that each row sees, weights included."""
        key, value = for_heads(key, query.shape[1]), for_heads(value, query.shape[1])
        whole = torch.zeros_like(query)
        total = query.new_full(query.shape[:3], -math.inf, dtype=sums_dtype(query))
        first = True
        for rows, keys, weight in self._parts:
            output, sums = attend(query[:, :, rows], key[:, :, keys], value[:, :, keys])
            if weight != 1.0:
                sums = sums + math.log(weight)
            if first:
                whole[:, :, rows], total[:, :, rows], first = output, sums, False
                continue
            # The first of a row's parts comes with all the weight: sigmoid(inf) = 1.
            earlier, before = whole[:, :, rows], total[:, :, rows]
            share = (sums - before).sigmoid()[..., None].to(output.dtype)
            whole[:, :, rows] = torch.lerp(earlier, output, share)
            total[:, :, rows] = torch.logaddexp(before, sums)
        return whole, total

    def weights_of(self, piece: int, rows: slice) -> Tensor:
        """How many times each key of a piece counts in these rows: (L,) float32, 0 where it is not seen."""
        if (piece, rows.stop) not in self._weights:
            weights = torch.zeros(rows.stop, device=self.pieces[piece].device)
            for group in self.groups:
                own = group.rows[group.rows < rows.stop]
                weights[own] = next((seen.weight for seen in group.sees if seen.piece == piece), 0.0)
            self._weights[piece, rows.stop] = weights
        return self._weights[piece, rows.stop][rows]

    def attend_each(self, query: Tensor, key: Tensor, value: Tensor, kernel: Kernel) -> Tensor:
        """The same by any kernel: an ordinary call for each group, with exactly the keys that it sees.

        Rows that see keys of another weight than 1 are computed by torch's kernels.
        """
        key, value = for_heads(key, query.shape[1]), for_heads(value, query.shape[1])
        whole = torch.zeros_like(query)
        for rows, keys in self._calls:
            # Copies, because a kernel may want its rows next to each other.
            some = (
                one[:, :, place].contiguous() for one, place in ((query, rows), (key, keys), (value, keys))
            )
            whole[:, :, rows] = kernel(*some)
        if self._weighted.groups:
            rest = self._weighted.attend(query, key, value)
            for group in self._weighted.groups:
                whole[:, :, group.rows] = rest[:, :, group.rows]
        return whole

    @cached_property
    def _parts(self) -> tuple[_Part, ...]:
        """Calls that together give every row all it sees, the largest first.

        Each is a block of rows that see the same pieces at the same weight.
        """
        by_weight: dict[float, dict[int, set[int]]] = {}
        for number, group in enumerate(self.groups):
            for one in group.sees:
                by_weight.setdefault(one.weight, {}).setdefault(number, set()).add(one.piece)
        found: list[tuple[int, _Part]] = []
        for weight, sees in by_weight.items():
            some, used = list(sees), sorted(set[int]().union(*sees.values()))
            seen = torch.tensor([[piece in sees[number] for piece in used] for number in some])
            sizes = (
                torch.tensor([len(self.groups[number].rows) for number in some]),
                torch.tensor([len(self.pieces[piece]) for piece in used]),
            )
            for groups, pieces in choose_blocks(seen, *sizes):
                rows = torch.cat([self.groups[some[number]].rows for number in groups])
                keys = torch.cat([self.pieces[used[number]] for number in pieces])
                found.append((len(rows) * len(keys), _Part(compact(rows), compact(keys), weight)))
        return tuple(part for _, part in sorted(found, key=lambda one: -one[0]))

    @cached_property
    def _weights(self) -> dict[tuple[int, int], Tensor]:
        return {}

    @cached_property
    def _calls(self) -> tuple[tuple[Tokens, Tokens], ...]:
        return tuple(
            (compact(group.rows), compact(torch.cat([self.pieces[one.piece] for one in group.sees])))
            for group in self.groups
            if _plain(group)
        )

    @cached_property
    def _weighted(self) -> RowGroups:
        return RowGroups(self.pieces, tuple(group for group in self.groups if not _plain(group)))


def for_heads(keys: Tensor, heads: int) -> Tensor:
    """Keys or values (B, h, T, d) for H heads, each h-th part of which shares one: (B, H, T, d)."""
    return keys if keys.shape[1] == heads else keys.repeat_interleave(heads // keys.shape[1], dim=1)


def compact(places: Tensor) -> Tokens:
    """Indices as a slice where they are neighbours in order, so that nothing is gathered for them."""
    places = places.sort().values
    if len(places) and int(places[-1]) - int(places[0]) + 1 == len(places):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _plain(group: RowGroup) -> bool:
    return all(one.weight == 1.0 for one in group.sees)
