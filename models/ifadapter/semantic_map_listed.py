"""The semantic map of all instances at once, with all that does not depend on the query made before: for
sampling on a CPU on small grids, where operations take longer than what they compute.

An instance's cells are a list, and lists are padded to one length. About 26 operations for any number of
instances; the spatial attention is a product with a matrix instead of a convolution of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..regions import Placement
from .cell_lists import SLOTS
from .gate import Gate
from .resampler import RMS_EPSILON

T = TypeVar("T")

# Numbers in the features of a row's instances, up to which this is faster than one instance after the other
# (timing/README.md).
MOST_NUMBERS = 131_072
# Numbers in the matrices of the spatial attention: they grow with the square of an instance's cells.
MOST_WEIGHTS = 1_048_576
# Numbers in a matrix that adds up the terms of each cell: a product with a small one is faster than lists.
MOST_PLACES = 16_384


def is_small(placement: Placement, channels: int) -> bool:
    """Whether `ListedSemanticMap` is what a layer of so many channels is best computed by."""
    if placement.rows != 1 or placement.device.type != "cpu":
        return False
    length = _length(placement)
    cells = len(placement.indices) * length
    return 0 < cells * channels <= MOST_NUMBERS and 3 * cells * length <= MOST_WEIGHTS


class ListedSemanticMap:
    """One layer's map for `rows` rows: the contract of `semantic_map` without gradients.

    P instances have cells, M places in the list of each, padding included; R = `rows`, H heads of d channels.
    Views into what is written at every call are made once, so one map serves one call at a time.
    """

    def __init__(self, keys: Tensor, values: Tensor, gate: Gate, placement: Placement, rows: int) -> None:
        lists = _kept(placement, "lists", lambda: _Lists.of(placement))
        self._rows, (self._count, self._length) = rows, lists.cells.shape
        heads, self._head_dim = keys.shape[2], keys.shape[4]
        keys, values = (
            x[:, lists.instances].float().repeat_interleave(rows // len(x), dim=0).flatten(0, 2)
            for x in (keys, values)
        )
        # The root of the mean of squares is the norm over the root of their number.
        self._keys = keys * self._head_dim**0.5
        self._epsilon = keys.new_tensor((RMS_EPSILON * self._head_dim) ** 0.5)
        self._values = values
        ways = _kept(placement, f"ways of {heads} heads, {rows} rows", lambda: _Ways.of(lists, heads, rows))
        self._gather, self._logits_at = ways.gather, ways.logits
        self._ways_back, self._bags, self._places = ways.back, ways.bags, ways.places
        # Heads before cells, as the products leave them, and beside one another, as the gate reads them.
        self._by_head = (rows, self._count, heads, self._length, self._head_dim)
        self._inside = lists.inside[:, :, None, None]
        self._feature = keys.new_empty(rows, self._count, self._length, heads, self._head_dim)
        self._flat_feature = self._feature.view(rows * self._count, self._length, -1)
        self._terms = self._feature.view(rows, self._count * self._length, -1)
        self._prepare_gate(gate, lists, placement)

    def _prepare_gate(self, gate: Gate, lists: _Lists, placement: Placement) -> None:
        areas = placement.ratios.sigmoid()
        own = areas[lists.slots][:, None, None]
        # The sum is divided by all cells of the grid, since features are zero outside the region.
        cells = placement.grid[0] * placement.grid[1]
        # Maximum and sum side by side have their own hidden numbers, which add up behind them.
        self._channel_in = torch.block_diag(gate.channel_in, gate.channel_in / cells).t().contiguous()
        self._channel_in_bias = gate.channel_in_bias.repeat(2)
        self._channel_out = gate.channel_out.t().repeat(2, 1)
        self._channel_out_bias = 2 * gate.channel_out_bias
        self._pooled = self._channel_out.new_empty(self._rows * self._count, len(self._channel_in))
        self._largest, self._sum = self._pooled.chunk(2, dim=1)
        mean = torch.full_like(gate.logit_weight, 1 / len(gate.logit_weight))
        vectors = torch.stack((mean.expand(self._count, -1), gate.logit_weight * own[:, 0]), dim=1)
        self._vectors = vectors.repeat(self._rows, 1, 1)
        self._spatial = lists.spatial(gate.spatial)
        self._logit_bias = gate.logit_bias * own
        # An instance's logit outside its region, of each slot, and the one that stands for the empty slots,
        # behind those of the listed cells.
        free = SLOTS - len(areas)
        empty = 0.5 * gate.logit_bias + (math.log(free) if free > 0 else -math.inf)
        listed = self._count * self._rows * self._length
        self._logits = torch.cat((areas.new_zeros(listed), gate.logit_bias * areas, empty))
        self._listed_logits = self._logits[:listed].view(self._count, self._rows, self._length)
        strengths = gate.opening * torch.tensor(placement.strengths)[lists.slots]
        self._strengths = strengths[:, None].expand(self._rows, -1, self._length).reshape(-1)

    def __call__(self, query: Tensor) -> Tensor:
        """The term (R, L, C) of a query (R, L, C)."""
        image = query.float().reshape(self._rows, -1, self._head_dim)
        norm = torch.linalg.vector_norm(image, dim=-1, keepdim=True)
        image = image / torch.hypot(norm, self._epsilon)
        listed = image.index_select(1, self._gather).view(-1, self._length, self._head_dim)
        # Tokens before cells: a softmax over the short axis is several times slower as the last one.
        attention = torch.bmm(self._keys, listed.transpose(1, 2)).softmax(dim=1)
        feature = torch.bmm(attention.transpose(1, 2), self._values).view(self._by_head)
        torch.mul(feature.transpose(2, 3), self._inside, out=self._feature)
        self._flat_feature.mul_(self._slot_weights())
        # The terms of all instances of a cell, added up.
        if self._places is None:
            terms = self._flat_feature.flatten(0, 1)
            out = torch.embedding_bag(terms, self._ways_back, self._bags)[0].view_as(query)
        else:
            out = torch.matmul(self._places, self._terms)
        return out.to(query.dtype)

    def _slot_weights(self) -> Tensor:
        """Weights of the cells (R * P, M, 1) from the features (R * P, M, C), strengths included."""
        feature, count, length = self._flat_feature, self._count, self._length
        torch.amax(feature, 1, out=self._largest)
        torch.sum(feature, 1, out=self._sum)
        hidden = torch.addmm(self._channel_in_bias, self._pooled, self._channel_in).relu_()
        factor = torch.addmm(self._channel_out_bias, hidden, self._channel_out).sigmoid_()
        gated = feature * factor[:, None]
        planes = torch.bmm(self._vectors, gated.transpose(1, 2))
        inputs = torch.cat((gated.amax(2)[:, None], planes), dim=1)
        inputs = inputs.view(self._rows, count, 3 * length).transpose(0, 1)
        spatial = torch.bmm(inputs, self._spatial).sigmoid_()
        torch.addcmul(self._logit_bias, spatial, inputs[:, :, 2 * length :], out=self._listed_logits)
        compared = self._logits.index_select(0, self._logits_at).view(-1, len(self._strengths))
        return (compared.softmax(dim=0)[0] * self._strengths).view(-1, length, 1)


def _kept(placement: Placement, name: str, make: Callable[[], T]) -> T:
    """What is the same for all layers of a grid, made once."""
    if name not in placement.made:
        placement.made[name] = make()
    return placement.made[name]


@dataclass(frozen=True, eq=False)
class _Lists:
    """P instances with cells, M places each; padding repeats an instance's first cell.

    `instances` and `slots` (P,) are their places among the keys and in the placement, `cells` (P, M) cells of
    the grid of `width` columns, `inside` (P, M) is 1 in an instance's cells and 0 in padding. `entries`
    (slots + 1, L) says where in the lists, end to end, each cell of the grid is for each slot of the
    placement and, as the last one, for the empty slots; -1 where nowhere.
    """

    instances: Tensor
    slots: Tensor
    cells: Tensor
    inside: Tensor
    entries: Tensor
    width: int

    @classmethod
    def of(cls, placement: Placement) -> _Lists:
        covered = placement.covered.flatten(1)
        slots = [slot for slot in range(len(covered)) if covered[slot].any()]
        length = _length(placement)
        cells = torch.zeros(len(slots), length, dtype=torch.long)
        inside = torch.zeros(len(slots), length)
        entries = torch.full((len(covered) + 1, covered.shape[1]), -1)
        for number, slot in enumerate(slots):
            own = covered[slot].nonzero().flatten()
            cells[number] = own[0]
            cells[number, : len(own)] = own
            inside[number, : len(own)] = 1.0
            entries[slot, own] = number * length + torch.arange(len(own))
        instances = torch.tensor([placement.indices[slot] for slot in slots])
        return cls(instances, torch.tensor(slots), cells, inside, entries, placement.grid[1])

    def spatial(self, kernel: Tensor) -> Tensor:
        """A convolution (1, 2, k, k) of maximum and mean as matrices from the planes of a list, the third of
        which takes no part, to its cells: (P, 3 * M, M)."""
        side = kernel.shape[-1]
        rows, columns = self.cells // self.width, self.cells % self.width
        down = rows[:, :, None] - rows[:, None] + side // 2
        right = columns[:, :, None] - columns[:, None] + side // 2
        seen = (down >= 0) & (down < side) & (right >= 0) & (right < side)
        seen = seen & (self.inside[:, :, None] > 0)
        at = (down * side + right).clamp(0, side * side - 1)
        planes = [torch.where(seen, plane.flatten()[at], 0.0) for plane in kernel[0]]
        return torch.cat((*planes, torch.zeros_like(planes[0])), dim=1)

    def places(self) -> Tensor:
        """A matrix (L, P * M), 1 where a place of the lists is a cell of the grid."""
        matrix = torch.zeros(self.entries.shape[1], self.cells.numel())
        slots, cells = (self.entries >= 0).nonzero(as_tuple=True)
        matrix[cells, self.entries[slots, cells]] = 1.0
        return matrix

    def compared(self) -> tuple[Tensor, Tensor]:
        """For each listed cell the entries of all slots at it (slots + 1, P, M), its own first, and those
        slots (slots + 1, P)."""
        others = torch.arange(len(self.entries)).expand(len(self.slots), -1)
        others = others[others != self.slots[:, None]].view(len(self.slots), -1)
        slots = torch.cat((self.slots[:, None], others), dim=1).t()
        return self.entries[slots[:, :, None], self.cells], slots

    def depths(self) -> list[Tensor]:
        """The entry of the first instance of each cell of the grid, of the second, …: (L,) each, padding for
        none."""
        found = self.entries >= 0
        order = (~found).int().argsort(dim=0, stable=True)
        entries = self.entries.gather(0, order)[: int(found.sum(0).max())]
        padding = (self.inside.flatten() == 0).nonzero().flatten()
        return [torch.where(one >= 0, one, padding[:1]) if len(padding) else one for one in entries]


@dataclass(frozen=True, eq=False)
class _Ways:
    """Ways between the grid and the lists of a layer, as places in flattened tensors.

    `gather`: rows of one head's channels in the query (L, H), for the lists (P, H, M). `logits`: those of all
    slots at each listed cell (slots + 1, R, P, M), the cell's own first, among the listed ones (P, R, M) and
    what each slot has outside, end to end. `back`: rows of the lists (R, P, M), of all instances of each
    cell of the result (R, L), padding for none; `bags`: where those of each cell begin. `places` (L, P * M)
    is the same of one row as a matrix of 0 and 1, None where it is large.
    """

    gather: Tensor
    logits: Tensor
    back: Tensor
    bags: Tensor
    places: Tensor | None

    @classmethod
    def of(cls, lists: _Lists, heads: int, rows: int) -> _Ways:
        length, head = lists.cells.shape[1], torch.arange(heads)
        entries, slots = lists.compared()
        owner, place = (x[:, None] for x in (entries // length, entries % length))
        inside = (owner * rows + torch.arange(rows)[:, None, None]) * length + place
        outside = rows * lists.cells.numel() + slots[:, None, :, None]
        back = torch.stack(lists.depths(), dim=1)
        back = back + (torch.arange(rows) * lists.cells.numel())[:, None, None]
        return cls(
            (lists.cells[:, None] * heads + head[:, None]).flatten(),
            torch.where(entries[:, None] >= 0, inside, outside).flatten(),
            back.flatten(),
            torch.arange(0, back.numel(), back.shape[-1]),
            lists.places() if lists.entries.shape[1] * lists.cells.numel() <= MOST_PLACES else None,
        )


def _length(placement: Placement) -> int:
    """One more than the cells of the largest, so that every list has a zero in it, unless one fills all; 0
    without cells."""

    def count() -> int:
        most = int(placement.covered.flatten(1).sum(1).max())
        return min(most + 1, placement.grid[0] * placement.grid[1]) if most else 0

    # Asked for at every step and layer.
    return _kept(placement, "length of lists", count)
