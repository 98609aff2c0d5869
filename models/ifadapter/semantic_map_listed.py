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
        self._transposed_values = values.transpose(1, 2).contiguous()
        self._inside = lists.inside[:, None]
        ways = _kept(placement, f"ways of {heads} heads, {rows} rows", lambda: _Ways.of(lists, heads, rows))
        self._gather, self._logits_at = ways.gather, ways.logits
        self._ways_back, self._bags = ways.back, ways.bags
        # What a whole instance is multiplied by goes onto its values.
        strengths = gate.opening * torch.tensor(placement.strengths)[lists.slots]
        self._values = (values.view(rows, self._count, -1) * strengths[:, None]).view_as(values)
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
        mean = torch.full_like(gate.logit_weight, 1 / len(gate.logit_weight))
        vectors = torch.stack((mean.expand(self._count, -1), gate.logit_weight * own[:, 0]), dim=1)
        self._vectors = vectors.repeat(self._rows, 1, 1)
        self._spatial = lists.spatial(gate.spatial)
        self._logit_bias = gate.logit_bias * own
        # An instance's logit outside its region, of each slot, and the one that stands for the empty slots.
        free = SLOTS - len(areas)
        empty = 0.5 * gate.logit_bias + (math.log(free) if free > 0 else -math.inf)
        self._outside = torch.cat((gate.logit_bias * areas, empty))

    def __call__(self, query: Tensor) -> Tensor:
        """The term (R, L, C) of a query (R, L, C)."""
        rows, count, length = self._rows, self._count, self._length
        image = query.float().view(rows, -1, self._head_dim)
        norm = torch.linalg.vector_norm(image, dim=-1, keepdim=True)
        image = image / torch.hypot(norm, self._epsilon)
        listed = image.index_select(1, self._gather).view(-1, length, self._head_dim)
        # Tokens before cells: a softmax over the short axis is several times slower as the last one.
        attention = torch.bmm(self._keys, listed.transpose(1, 2)).softmax(dim=1)
        attention.view(rows, count, -1, length).mul_(self._inside)
        weights = self._slot_weights(torch.bmm(self._transposed_values, attention))
        attention.view(rows, count, -1, length).mul_(weights)
        terms = torch.bmm(attention.transpose(1, 2), self._values).view(-1, self._head_dim)
        # The terms of all instances of a cell, added up.
        out = torch.embedding_bag(terms, self._ways_back, self._bags)[0]
        return out.view_as(query).to(query.dtype)

    def _slot_weights(self, feature: Tensor) -> Tensor:
        """Weights of the cells (R, P, 1, M) from the features (R * P * H, d, M), which are overwritten."""
        rows, count, length = self._rows, self._count, self._length
        feature = feature.view(rows * count, -1, length)
        pooled = torch.cat((feature.amax(2), feature.sum(2)), dim=1)
        hidden = torch.addmm(self._channel_in_bias, pooled, self._channel_in).relu_()
        factor = torch.addmm(self._channel_out_bias, hidden, self._channel_out).sigmoid_()
        feature.mul_(factor[:, :, None])
        planes = torch.bmm(self._vectors, feature)
        inputs = torch.cat((feature.amax(1, keepdim=True), planes), dim=1)
        inputs = inputs.view(rows, count, 3 * length).transpose(0, 1)
        spatial = torch.bmm(inputs, self._spatial).sigmoid_()
        logits = torch.addcmul(self._logit_bias, spatial, inputs[:, :, 2 * length :])
        compared = torch.cat((logits.flatten(), self._outside)).index_select(0, self._logits_at)
        shares = compared.view(-1, rows, count, length).softmax(dim=0)[0]
        return shares[:, :, None]


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
    what each slot has outside, end to end. `back`: rows of the lists (R, P, H, M), of all instances of each
    place of the result (R, L, H), padding for none; `bags`: where those of each place begin.
    """

    gather: Tensor
    logits: Tensor
    back: Tensor
    bags: Tensor

    @classmethod
    def of(cls, lists: _Lists, heads: int, rows: int) -> _Ways:
        length, head = lists.cells.shape[1], torch.arange(heads)
        entries, slots = lists.compared()
        owner, place = (x[:, None] for x in (entries // length, entries % length))
        inside = (owner * rows + torch.arange(rows)[:, None, None]) * length + place
        outside = rows * lists.cells.numel() + slots[:, None, :, None]
        first = torch.arange(heads) * length
        depths = torch.stack(lists.depths(), dim=1)[:, None]
        back = depths // length * heads * length + first[:, None] + depths % length
        back = back + (torch.arange(rows) * lists.cells.numel() * heads)[:, None, None, None]
        return cls(
            (lists.cells[:, None] * heads + head[:, None]).flatten(),
            torch.where(entries[:, None] >= 0, inside, outside).flatten(),
            back.flatten(),
            torch.arange(0, back.numel(), back.shape[-1]),
        )


def _length(placement: Placement) -> int:
    """One more than the cells of the largest, so that every list has a zero in it, unless one fills all; 0
    without cells."""

    def count() -> int:
        most = int(placement.covered.flatten(1).sum(1).max())
        return min(most + 1, placement.grid[0] * placement.grid[1]) if most else 0

    # Asked for at every step and layer.
    return _kept(placement, "length of lists", count)
