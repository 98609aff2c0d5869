"""Regions of a picture, and their cells on a token grid: the only raster of boxes there is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layout import Layout
from ..layout.mask import Mask, RunLength

# Resolution at which polygons and run-lengths of a layout become masks: four times as fine as the
# 64 x 64 token grid of a 2048 px picture, so that "a cell is touched" is decided well below cell size.
MASK_SIDE = 256
# As many times finer samples look for what is thinner than that; run-lengths of up to so many pixels are
# looked at whole.
FINER = 4
MOST_PIXELS = 4096**2
# A mask may be soft; what is at least half covered belongs to the instance.
COVERED = 0.5

Rectangle = tuple[float, float, float, float]
Cells = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Placement:
    """P instances on a token grid of `grid` = (height, width) cells, in one row of a batch or in several.

    A batch of more than `rows` rows repeats the placement. `indices` are the places of the instances among
    all that there are, `row_of` the row of each; the other fields run parallel to them. `cells` are half-open
    x0, y0, x1, y1; `masks` (bool) cover those cells, None where all of them belong to the instance; `covered`
    (P, height, width, bool, on the CPU) says the same of the whole grid; `ratios` (float32) are the area of
    the row's union over the area of the instance, infinite for an instance without cells. Masks and ratios
    are on `device`. `made` keeps what the users of a placement make of it once.
    """

    grid: tuple[int, int]
    rows: int
    indices: tuple[int, ...]
    row_of: tuple[int, ...]
    cells: tuple[Cells, ...]
    masks: tuple[Tensor | None, ...]
    covered: Tensor
    ratios: Tensor
    strengths: tuple[float, ...]
    made: dict[str, Any] = field(default_factory=dict[str, Any], init=False, repr=False)

    @classmethod
    def of_shapes(
        cls,
        shapes: Sequence[tuple[Rectangle, Tensor | None]],
        grid: tuple[int, int],
        *,
        indices: Sequence[int] | None = None,
        counts: Sequence[int] | None = None,
        strengths: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ) -> Placement:
        """Boxes, each with a mask or None, of rows with `counts` instances (default: all in one row)."""
        counts = [len(shapes)] if counts is None else list(counts)
        if sum(counts) != len(shapes):
            raise ValueError(
                f"counts {counts} add up to {sum(counts)} instances, but there are {len(shapes)} boxes; "
                "there must be as many of each"
            )
        places = [_cover(box, mask, grid) for box, mask in shapes]
        covered = _rasters(places, grid)
        return cls(
            grid=grid,
            rows=len(counts),
            indices=tuple(range(len(shapes)) if indices is None else indices),
            row_of=tuple(row for row, count in enumerate(counts) for _ in range(count)),
            cells=tuple(cells for cells, _ in places),
            masks=tuple(None if mask is None else mask.to(device) for _, mask in places),
            covered=covered,
            ratios=area_ratios(covered, counts).to(device),
            strengths=tuple(strengths or (1.0,) * len(shapes)),
        )

    @classmethod
    def of_boxes(
        cls,
        boxes: Tensor | Sequence[Sequence[float]],
        counts: Sequence[int],
        grid: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> Placement:
        """Boxes (P, 4) of all rows of a batch end to end, `counts` in each, at full strength."""
        rectangles = boxes.tolist() if isinstance(boxes, Tensor) else boxes
        return cls.of_shapes(
            [(_rectangle(box), None) for box in rectangles], grid, counts=counts, device=device
        )

    @property
    def counts(self) -> list[int]:
        """The instances of each row."""
        return [self.row_of.count(row) for row in range(self.rows)]

    @property
    def unions(self) -> Tensor:
        """The cells that any instance of a row touches: (rows, height, width), bool, on the CPU."""
        return torch.stack([own.any(0) for own in self.covered.split(self.counts)])

    @property
    def device(self) -> torch.device:
        """The device of masks and ratios."""
        return self.ratios.device

    def row(self, number: int) -> Placement:
        """One row by itself, its `indices` those of the whole."""
        own = [slot for slot, row in enumerate(self.row_of) if row == number]
        return Placement(
            grid=self.grid,
            rows=1,
            indices=tuple(self.indices[slot] for slot in own),
            row_of=(0,) * len(own),
            cells=tuple(self.cells[slot] for slot in own),
            masks=tuple(self.masks[slot] for slot in own),
            covered=self.covered[own],
            ratios=self.ratios[own[0] : own[-1] + 1] if own else self.ratios[:0],
            strengths=tuple(self.strengths[slot] for slot in own),
        )

    def crop(self, slot: int) -> tuple[slice, slice]:
        """Rows and columns of one instance on the grid."""
        x0, y0, x1, y1 = self.cells[slot]
        return slice(y0, y1), slice(x0, x1)

    def has_cells(self, slot: int) -> bool:
        """True if one instance touches the grid at all; a box thinner than a line between cells does not."""
        x0, y0, x1, y1 = self.cells[slot]
        return x1 > x0 and y1 > y0

    def covers_grid(self, slot: int) -> bool:
        """True if one instance takes up every cell of the grid."""
        return self.masks[slot] is None and self.cells[slot] == (0, 0, self.grid[1], self.grid[0])


@dataclass(frozen=True, eq=False)
class Regions:
    """Boxes x0, y0, x1, y1 in 0..1 with, per instance, an optional mask, a strength and a start and end.

    A mask is a boolean tensor (H, W) over the whole picture at any resolution and replaces the box as the
    instance's shape. `windows` are fractions of the sampling run, 0 at its beginning. The host says of what:
    diffusers counts steps, ComfyUI goes by the model's noise schedule, as its own nodes do.
    """

    boxes: tuple[Rectangle, ...]
    masks: tuple[Tensor | None, ...]
    strengths: tuple[float, ...]
    windows: tuple[tuple[float, float], ...]
    _placements: dict[tuple[tuple[int, int], tuple[bool, ...] | None, str], Placement | None] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def of_boxes(cls, boxes: Tensor | Sequence[Sequence[float]]) -> Regions:
        """Plain boxes (P, 4) at full strength for the whole run."""
        rows = boxes.tolist() if isinstance(boxes, Tensor) else boxes
        n = len(rows)
        return cls(
            tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in rows), (None,) * n, (1.0,) * n, ((0.0, 1.0),) * n
        )

    @classmethod
    def from_layout(cls, layout: Layout) -> Regions:
        """The regions of a layout's active instances, in stacking order.

        Only what lies on the canvas counts, and where an instance has a mask, the mask's bounding box takes
        the place of its box. Raises `LayoutError` for a layout that has errors.
        """
        active = layout.checked().active
        return cls(
            boxes=tuple(_rectangle(instance.bounds.clipped() or instance.bounds) for instance in active),
            masks=tuple(
                None if instance.mask is None else _mask_tensor(instance.mask) for instance in active
            ),
            strengths=tuple(instance.strength for instance in active),
            windows=tuple((instance.start, instance.end) for instance in active),
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def crop(self, x0: float, y0: float, x1: float, y1: float) -> Regions:
        """The same regions seen from a rectangle of the picture, given as fractions of it."""
        width, height = x1 - x0, y1 - y0
        boxes = tuple(
            (
                min(max((a - x0) / width, 0.0), 1.0),
                min(max((b - y0) / height, 0.0), 1.0),
                min(max((c - x0) / width, 0.0), 1.0),
                min(max((d - y0) / height, 0.0), 1.0),
            )
            for a, b, c, d in self.boxes
        )
        masks = tuple(None if mask is None else _crop_mask(mask, x0, y0, x1, y1) for mask in self.masks)
        return Regions(boxes, masks, self.strengths, self.windows)

    def active(self, progress: float) -> tuple[bool, ...]:
        """The instances that act at `progress` (0 at the beginning of sampling, 1 at its end)."""
        return tuple(start <= progress < end for start, end in self.windows)

    def place(
        self,
        grid: tuple[int, int],
        active: tuple[bool, ...] | None = None,
        device: torch.device | str = "cpu",
    ) -> Placement | None:
        """The (active) instances on a grid of (height, width) cells; None if none of them touches it.

        Kept for the next call: sampling asks for the same few placements at every step and layer.
        """
        key = (grid, active, str(device))
        if key not in self._placements:
            indices = tuple(i for i in range(len(self)) if active is None or active[i])
            placement = Placement.of_shapes(
                [(self.boxes[i], self.masks[i]) for i in indices],
                grid,
                indices=indices,
                strengths=tuple(self.strengths[i] for i in indices),
                device=device,
            )
            self._placements[key] = placement if placement.covered.any() else None
        return self._placements[key]


def box_cells(box: Rectangle, grid: tuple[int, int]) -> Cells:
    """The cells a box touches on a (height, width) grid: starts rounded down, ends up, in float32.

    float32 because the reference rounds there: a pixel box may end one cell later than exact arithmetic says.
    """
    height, width = grid
    x0, y0, x1, y1 = (
        torch.tensor(box, dtype=torch.float32) * torch.tensor((width, height, width, height))
    ).tolist()
    left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
    return left, top, max(min(math.ceil(x1), width), left), max(min(math.ceil(y1), height), top)


def area_ratios(covered: Tensor, counts: Sequence[int]) -> Tensor:
    """Area of a row's union over that of each of its instances (P,); infinite for one without cells."""
    ratios = [own.any(0).sum() / own.sum((1, 2)) for own in covered.split(list(counts)) if len(own)]
    # 0 / 0 where nothing of a row is on the grid.
    return torch.cat([torch.zeros(0), *ratios]).nan_to_num(math.inf, math.inf)


def _cover(box: Rectangle, mask: Tensor | None, grid: tuple[int, int]) -> tuple[Cells, Tensor | None]:
    if mask is None:
        return box_cells(box, grid), None
    # A cell belongs to the instance if any pixel of the mask in it does, which is the rule for boxes too.
    touched = F.adaptive_max_pool2d(mask[None].float(), grid)[0] > 0
    if not touched.any():
        return (0, 0, 0, 0), None
    rows, columns = touched.any(1).nonzero(), touched.any(0).nonzero()
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    inside = touched[y0:y1, x0:x1]
    return (x0, y0, x1, y1), None if inside.all() else inside


def _rasters(places: Sequence[tuple[Cells, Tensor | None]], grid: tuple[int, int]) -> Tensor:
    """Cells and masks within them -> which cells of the grid belong to each: (P, height, width), bool."""
    rasters = torch.zeros(len(places), *grid, dtype=torch.bool)
    for raster, ((x0, y0, x1, y1), mask) in zip(rasters, places, strict=True):
        raster[y0:y1, x0:x1] = True if mask is None else mask
    return rasters


def _rectangle(box: Iterable[float]) -> Rectangle:
    x0, y0, x1, y1 = box
    return x0, y0, x1, y1


def _mask_tensor(mask: Mask) -> Tensor:
    """(MASK_SIDE, MASK_SIDE), bool: the samples that are inside, and what falls between samples.

    A lamp post of a few pixels may miss all samples, or those along a stretch of it. There the samples beside
    it count, and of a shape that finer samples miss too its bounds.
    """
    inside = _raster(mask, MASK_SIDE)
    near = F.max_pool2d(inside[None].float(), 3, stride=1, padding=1)[0] > 0
    whole = inside.bool() | (_touched(mask) & ~near)
    if not whole.any() and not mask.is_empty:
        x0, y0, x1, y1 = box_cells(_rectangle(mask.bounds), (MASK_SIDE, MASK_SIDE))
        whole[y0:y1, x0:x1] = True
    return whole


def _touched(mask: Mask) -> Tensor:
    """(MASK_SIDE, MASK_SIDE), bool: the samples around which a mask has any pixel or finer sample."""
    if isinstance(mask, RunLength) and math.prod(mask.size) <= MOST_PIXELS:
        height, width = mask.size
        values = (torch.arange(len(mask.counts)) % 2).float()
        columns = values.repeat_interleave(torch.tensor(mask.counts)).view(1, width, height)
        return F.adaptive_max_pool2d(columns.mT, MASK_SIDE)[0] > 0
    fine = _raster(mask, MASK_SIDE * FINER)
    rows = fine.view(MASK_SIDE, FINER, MASK_SIDE * FINER).amax(1)
    return rows.view(MASK_SIDE, MASK_SIDE, FINER).amax(2).bool()


def _raster(mask: Mask, side: int) -> Tensor:
    return torch.frombuffer(bytearray(mask.raster(side, side)), dtype=torch.uint8).view(side, side)


def _crop_mask(mask: Tensor, x0: float, y0: float, x1: float, y1: float) -> Tensor:
    height, width = mask.shape
    left, top, right, bottom = (
        math.floor(x0 * width),
        math.floor(y0 * height),
        math.ceil(x1 * width),
        math.ceil(y1 * height),
    )
    return mask[top:bottom, left:right]
