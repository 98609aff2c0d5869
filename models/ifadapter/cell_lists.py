"""Index lists of the cells of instances, as the gathered semantic map reads them.

An instance's cells are a list; lists are padded to one length, so that one operation serves all instances
whatever their number and shape. At most three groups of instances of similar size keep padding small. The
lists are made once for a placement, on the CPU, and moved to its device once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor

from ..regions import Placement, area_ratios

# The published adapter was trained with ten slots, empty ones taking part in the softmax (max_obj).
SLOTS = 10
# Lengths are multiples of this: what matrix units and vector loads like.
ALIGNMENT = 8
MOST_GROUPS = 3
# A further group costs about 35 launches. That many padded cells, in two rows of width 1280, take as long on
# a fast GPU (0.2 ms); a single group is kept where it wastes less.
CELLS_PER_GROUP = 2048
# Instances that share a cell are added up in parts, the next one this many times as deep: few operations, and
# at most so much padding.
FURTHER = 4


@dataclass(frozen=True, eq=False)
class CellGroup:
    """P instances of similar size with M cells each, padding included.

    `instances` (P,) are their places among the keys, None for the first P in order. `cells` (P * M,) are
    cells of the rows end to end; `inside` (P, 1, 1, M) is 1 in an instance's cells and 0 in padding;
    `strengths` (P, M) is the instance's strength there; `weights_at` (P * M,) the place of a cell's weight
    among those of the slots (rows, slots, cells). Pooling reads the first `pooled` entries: an instance that
    leaves a cell of the grid free has a zero among them, one that fills the grid has none.
    """

    count: int
    length: int
    pooled: int
    instances: Tensor | None
    cells: Tensor
    inside: Tensor
    strengths: Tensor
    weights_at: Tensor


@dataclass(frozen=True, eq=False)
class Overlap:
    """E cells that several instances share, and `count` places each in the groups' lists end to end.

    `cells` (E,) are cells of the rows end to end, each once, so that sums come out the same on every run;
    `entries` (E * count,) point at padding where a cell has fewer instances.
    """

    count: int
    cells: Tensor
    entries: Tensor


@dataclass(frozen=True, eq=False)
class CellLists:
    """The groups of a placement, and where each cell of the grid finds itself in them.

    Every row has as many `slots` as the fullest one has instances, and one more that stands for the empty
    ones. `planes_at` (rows * slots * 3 * cells,) and `terms_at` (rows * cells,) point into the groups' lists
    end to end, at padding where an instance has no cell; `terms_at` at the first instance of a cell, and
    `overlaps` at the further ones. `area_gates` and `multiplicities` (rows, slots, 1, 1) are the sigmoid of
    the ratio (1/2 for an empty slot) and the logarithm of the number of slots that one stands for.
    """

    groups: tuple[CellGroup, ...]
    slots: int
    planes_at: Tensor
    terms_at: Tensor
    overlaps: tuple[Overlap, ...]
    area_gates: Tensor
    multiplicities: Tensor


def cell_lists(placement: Placement) -> CellLists:
    """The lists of a placement, made once and kept with it."""
    if "cell lists" not in placement.made:
        placement.made["cell lists"] = _Lists(placement).made()
    return placement.made["cell lists"]


class _Lists:
    """A placement's lists while they are made; P instances, T cells of them in all, on the CPU."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.counts = placement.counts
        self.cells = placement.grid[0] * placement.grid[1]
        self.slots = max(self.counts) + 1
        self.row_of = torch.tensor(placement.row_of)
        self.slot_of = torch.tensor([slot for count in self.counts for slot in range(count)])
        covered = placement.covered.flatten(1)
        self.sizes: list[int] = covered.sum(1).tolist()
        # Instance, cell of the grid, place in the instance's list, and instances of its row before it: (T,).
        self.owner, self.cell = covered.nonzero(as_tuple=True)
        self.position = (covered.cumsum(1) - 1)[self.owner, self.cell]
        earlier = torch.cat([own.cumsum(0) - 1 for own in covered.split(self.counts)])
        self.depth = earlier[self.owner, self.cell]

    def made(self) -> CellLists:
        device = self.placement.device
        chosen = group_by_size([self._length(size) for size in self.sizes])
        groups = tuple(self._group(members) for members in chosen)
        planes_at, terms = self._ways_back(chosen, groups)
        gates, multiplicities = self._slot_constants()
        return CellLists(
            groups=tuple(_moved(group, device) for group in groups),
            slots=self.slots,
            planes_at=planes_at.to(device),
            terms_at=terms[:, 0].contiguous().to(device),
            overlaps=tuple(self._overlaps(terms, device)),
            area_gates=gates.to(device),
            multiplicities=multiplicities.to(device),
        )

    @staticmethod
    def _length(size: int) -> int:
        """One more than the cells at least, so that every list has a zero in it."""
        return -(-(size + 1) // ALIGNMENT) * ALIGNMENT

    def _group(self, members: list[int]) -> CellGroup:
        length = self._length(max(self.sizes[member] for member in members))
        rows = self.row_of[members]
        number = torch.full((len(self.sizes),), -1)
        number[members] = torch.arange(len(members))
        own = number[self.owner] >= 0
        place = number[self.owner[own]], self.position[own]
        # Padding reads the first cell of its row.
        cells = torch.zeros(len(members), length, dtype=torch.long)
        inside = torch.zeros(len(members), length)
        cells[place] = self.cell[own]
        inside[place] = 1.0
        strengths = torch.tensor([self.placement.strengths[member] for member in members])
        slots = rows * self.slots + self.slot_of[members]
        return CellGroup(
            count=len(members),
            length=length,
            pooled=min(length, self.cells),
            instances=self._instances(members),
            cells=(cells + rows[:, None] * self.cells).flatten(),
            inside=inside[:, None, None],
            strengths=inside * strengths[:, None],
            weights_at=(cells + slots[:, None] * self.cells).flatten(),
        )

    def _instances(self, members: list[int]) -> Tensor | None:
        places = [self.placement.indices[member] for member in members]
        return None if places == list(range(len(places))) else torch.tensor(places)

    def _ways_back(self, chosen: list[list[int]], groups: Sequence[CellGroup]) -> tuple[Tensor, Tensor]:
        """`planes_at`, and the entries of all instances of each cell: (rows * cells, most instances)."""
        rows, cells = self.placement.rows, self.cells
        deepest = int(self.depth.max()) + 1 if len(self.depth) else 1
        start, length = torch.zeros(2, len(self.sizes), dtype=torch.long)
        first = 0
        for members, group in zip(chosen, groups, strict=True):
            start[members] = first + torch.arange(group.count) * group.length
            length[members] = group.length
            first += group.count * group.length
        row, entry = self.row_of[self.owner], start[self.owner] + self.position

        terms = _padding(groups, 1, rows * cells * deepest).view(rows, cells, deepest)
        terms[row, self.cell, self.depth] = entry
        planes = _padding(groups, 3, rows * self.slots * 3 * cells).view(rows, self.slots, 3, cells)
        for plane in range(3):
            # A list's three planes follow each other.
            entries = entry + 2 * start[self.owner] + plane * length[self.owner]
            planes[row, self.slot_of[self.owner], plane, self.cell] = entries
        return planes.flatten(), terms.flatten(0, 1)

    def _overlaps(self, terms: Tensor, device: torch.device) -> Iterator[Overlap]:
        """The second to fourth instance of each cell, the fifth to sixteenth, and so on."""
        shared = self.row_of[self.owner] * self.cells + self.cell
        counts = torch.bincount(shared, minlength=len(terms))
        first = 1
        while first < terms.shape[1]:
            cells = (counts > first).nonzero().flatten()
            entries = terms[cells, first : FURTHER * first]
            yield Overlap(entries.shape[1], cells.to(device), entries.flatten().to(device))
            first *= FURTHER

    def _slot_constants(self) -> tuple[Tensor, Tensor]:
        counts = torch.tensor(self.counts)
        ratios = torch.zeros(len(counts), self.slots)
        multiplicities = torch.full_like(ratios, -math.inf)
        ratios[self.row_of, self.slot_of] = area_ratios(self.placement.covered, self.counts)
        multiplicities[self.row_of, self.slot_of] = 0.0
        multiplicities[:, -1] = (SLOTS - counts).clamp(min=0).log()
        return ratios.sigmoid()[:, :, None, None], multiplicities[:, :, None, None]


def group_by_size(lengths: Sequence[int]) -> list[list[int]]:
    """At most three groups of lists, such that padding and the number of groups together cost least."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    if len(lengths) * lengths[order[0]] <= CELLS_PER_GROUP:
        return [list(range(len(lengths)))]
    steps = [at for at in range(1, len(order)) if lengths[order[at]] < lengths[order[at - 1]]]

    def cost(bounds: tuple[int, ...]) -> int:
        return sum(CELLS_PER_GROUP + (b - a) * lengths[order[a]] for a, b in pairwise(bounds))

    candidates = (
        (0, *inner, len(order)) for count in range(MOST_GROUPS) for inner in combinations(steps, count)
    )
    best = min(candidates, key=cost)
    # In order within a group: a single one needs no index of its own then.
    return [sorted(order[a:b]) for a, b in pairwise(best)]


def _padding(groups: Sequence[CellGroup], planes: int, count: int) -> Tensor:
    """`count` places of padding in the groups' lists end to end, each list `planes` times."""
    free = torch.cat([(group.inside[:, 0] == 0).expand(-1, planes, -1).flatten() for group in groups])
    found = free.nonzero().flatten()
    # Every use another place: gradients that all add up in a single one would queue there.
    return found.repeat(-(-count // len(found)))[:count]


def _moved(group: CellGroup, device: torch.device) -> CellGroup:
    return CellGroup(
        group.count,
        group.length,
        group.pooled,
        None if group.instances is None else group.instances.to(device),
        *(x.to(device) for x in (group.cells, group.inside, group.strengths, group.weights_at)),
    )
