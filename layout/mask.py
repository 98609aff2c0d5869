"""Free-form regions: polygons and run-lengths. Both lie over the whole canvas."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter

from .box import (
    HIGHEST,
    LOWEST,
    WHOLE,
    Box,
)

# Far above anything drawn by hand or traced from a picture; keeps rasterising within a second.
MOST_POINTS = 5_000
LONGEST_SIDE = 16_384


# Left, top, right, bottom in pixels.
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Polygon:
    """A closed outline; `points` are (x, y) fractions of the canvas, inside by the even-odd rule."""

    points: tuple[tuple[float, float], ...]

    @property
    def fault(self) -> str | None:
        """Why this cannot be used as a mask, None when it can."""
        if not 3 <= len(self.points) <= MOST_POINTS:
            return f"the polygon has {len(self.points)} points, 3 to {MOST_POINTS} are allowed"
        for point in self.points:
            if not all(LOWEST <= value <= HIGHEST for value in point):
                return (
                    f"the point {point} is no pair of fractions of the canvas from {LOWEST:g} to {HIGHEST:g}"
                )
        return None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is inside, as when all points lie on a line."""
        if 2 * self.area > 1e-12:
            return False
        # The loops of a crossing outline may cancel out, so look at the inside itself.
        return len(self.points) < 3 or not any(self.raster(64, 64))

    @property
    def area(self) -> float:
        """What the outline encloses (Meister 1769), its loops in both directions against each other."""
        edges = pairwise((*self.points, *self.points[:1]))
        return abs(sum(xa * yb - xb * ya for (xa, ya), (xb, yb) in edges)) / 2

    @property
    def bounds(self) -> Box:
        """The smallest box around the points."""
        if not self.points:
            return Box(0.0, 0.0, 0.0, 0.0)
        columns, rows = zip(*self.points, strict=True)
        return Box(min(columns), min(rows), max(columns), max(rows))

    def raster(self, width: int, height: int) -> bytes:
        """Row-major 0/1 bytes of length width * height: 1 where the centre of the pixel is inside."""
        pixels = bytearray(width * height)
        self.paint(pixels, width, height)
        return bytes(pixels)

    def paint(self, pixels: bytearray, width: int, height: int, window: Window | None = None) -> None:
        """Set the bytes of a row-major raster that the polygon covers; the others stay as they are.

        The raster is a window of one of `width` × `height`, all of it by default.
        """
        left_edge, top, right_edge, _ = window = window or (0, 0, width, height)
        stride = right_edge - left_edge
        full = b"\x01" * stride
        rows = self._open_rows(pixels, width, height, window)
        for row, crossings in zip(rows, self._crossings(rows, height), strict=True):
            begin = (row - top) * stride
            crossings.sort()
            for left, right in pairs(crossings):
                # A centre on an edge belongs to the shape on its right, so that neighbours tile.
                start = math.ceil(left * width - 0.5) - left_edge
                end = math.ceil(right * width - 0.5) - left_edge
                start = 0 if start < 0 else start
                end = stride if end > stride else end
                if start < end:
                    pixels[begin + start : begin + end] = full[: end - start]

    def _open_rows(self, pixels: bytearray, width: int, height: int, window: Window) -> list[int]:
        """Rows that the outline reaches, but for those that are set wherever it could set something."""
        left, top, right, bottom = window
        x0, y0, x1, y1 = self.bounds
        columns = (math.ceil(x * width - 0.5) - left for x in (x0, x1))
        start, end = (min(right - left, max(0, column)) for column in columns)
        first, last = _centres(y0, y1, height)
        begins = ((row, (row - top) * (right - left)) for row in range(max(first, top), min(last, bottom)))
        return [row for row, begin in begins if pixels.find(0, begin + start, begin + end) >= 0]

    def _crossings(self, rows: list[int], height: int) -> list[list[float]]:
        """Crossings of the outline with the centre lines of ascending rows."""
        crossings: list[list[float]] = [[] for _ in rows]
        for (xa, ya), (xb, yb) in pairwise((*self.points, *self.points[:1])):
            if ya == yb:
                continue
            first, last = _centres(min(ya, yb), max(ya, yb), height)
            across, down = xb - xa, yb - ya
            for index in range(bisect_left(rows, first), bisect_left(rows, last)):
                crossings[index].append(xa + ((rows[index] + 0.5) / height - ya) * across / down)
        return crossings


def _centres(start: float, end: float, height: int) -> tuple[int, int]:
    """The rows whose centres lie between two fractions, as first and behind last."""
    return max(0, math.ceil(start * height - 0.5)), min(height, math.ceil(end * height - 0.5))


def pairs(values: list[float]) -> Iterator[tuple[float, float]]:
    """(first, second), (third, fourth) … of an even number of values."""
    return zip(values[::2], values[1::2], strict=True)


@dataclass(frozen=True)
class RunLength:
    """COCO's uncompressed run-length mask: `size` is (height, width); `counts` run down the columns, left
    column first, alternate between zeros and ones beginning with zeros, and add up to height * width."""

    size: tuple[int, int]
    counts: tuple[int, ...]

    @property
    def fault(self) -> str | None:
        """Why this cannot be used as a mask, None when it can."""
        height, width = self.size
        if not (1 <= height <= LONGEST_SIDE and 1 <= width <= LONGEST_SIDE):
            return f"the run-length has size {height} × {width}, sides of 1 to {LONGEST_SIDE} are allowed"
        if any(count < 0 for count in self.counts):
            return "the run-length has a negative count"
        if sum(self.counts) != height * width:
            return f"the counts add up to {sum(self.counts)}, {height} × {width} needs {height * width}"
        return None

    @classmethod
    def from_raster(cls, raster: bytes, width: int, height: int) -> RunLength:
        """From row-major 0/1 bytes; ValueError when the length or a value is another."""
        if len(raster) != width * height:
            raise ValueError(f"a raster of {width} × {height} has {width * height} bytes, got {len(raster)}")
        if raster.translate(None, b"\x00\x01"):
            raise ValueError("a raster holds only the bytes 0 and 1")
        columns = b"".join(raster[column::width] for column in range(width))
        counts, position, value = [], 0, b"\x00"
        while position < len(columns):
            value = b"\x01" if value == b"\x00" else b"\x00"
            following = columns.find(value, position)
            following = len(columns) if following < 0 else following
            counts.append(following - position)
            position = following
        return cls((height, width), tuple(counts))

    @classmethod
    def from_window(cls, raster: bytes, window: Window, width: int, height: int) -> RunLength:
        """From row-major 0/1 bytes of a window of a raster of `width` × `height`, zero outside."""
        left, top, right, bottom = window
        rows = bottom - top
        inside = cls.from_raster(raster, right - left, rows)
        counts, position = [], 0
        for start, end in _runs(inside.counts):
            while start < end:
                column, row = divmod(start, rows)
                stop = min(end, (column + 1) * rows)
                begin = (left + column) * height + top + row
                if begin == position and counts:
                    counts[-1] += stop - start
                else:
                    counts += [begin - position, stop - start]
                position = begin + stop - start
                start = stop
        rest = height * width - position
        return cls((height, width), (*counts, rest) if rest else tuple(counts))

    @property
    def is_empty(self) -> bool:
        """Whether there is no 1."""
        return not any(self.counts[1::2])

    @property
    def bounds(self) -> Box:
        """The smallest box around the ones; a box of no size when there are none."""
        height, width = self.size
        left, top, right, bottom = width, height, 0, 0
        for start, end in _runs(self.counts):
            if start == end:
                continue
            first, last = start // height, (end - 1) // height
            left, right = min(left, first), max(right, last + 1)
            whole = first != last
            top = 0 if whole else min(top, start % height)
            bottom = height if whole else max(bottom, (end - 1) % height + 1)
        if right == 0:
            return Box(0.0, 0.0, 0.0, 0.0)
        return Box(left / width, top / height, right / width, bottom / height)

    def raster(self, width: int, height: int) -> bytes:
        """Row-major 0/1 bytes of length width * height, nearest sample."""
        height_here, width_here = self.size
        return self._sample(_samples(0.0, 1.0, width, width_here), _samples(0.0, 1.0, height, height_here))

    def seen_through(self, window: Box) -> RunLength:
        """The mask as it lies in `window` (fractions; x0 > x1 mirrors), at about the same resolution."""
        width = min(LONGEST_SIDE, max(1, round(abs(window.width) * self.size[1])))
        height = min(LONGEST_SIDE, max(1, round(abs(window.height) * self.size[0])))
        return self._sampled(window, width, height)

    def resized(self, width: int, height: int) -> RunLength:
        """The mask at another resolution, nearest sample; itself where that is its own."""
        return self if self.size == (height, width) else self._sampled(WHOLE, width, height)

    def _sampled(self, window: Box, width: int, height: int) -> RunLength:
        columns = _samples(window.x0, window.x1, width, self.size[1])
        rows = _samples(window.y0, window.y1, height, self.size[0])
        # Only where something is: the whole of a window far wider than the canvas would be gigabytes.
        around = self.bounds
        left, right = _span(columns, around.x0 * self.size[1], around.x1 * self.size[1])
        top, bottom = _span(rows, around.y0 * self.size[0], around.y1 * self.size[0])
        pixels = self._sample(columns[left:right], rows[top:bottom])
        return RunLength.from_window(pixels, (left, top, right, bottom), width, height)

    def _sample(self, source_columns: list[int | None], source_rows: list[int | None]) -> bytes:
        """Row-major 0/1 bytes of the source pixels under columns and rows, zero where there is none."""
        width, height = len(source_columns), len(source_rows)
        wanted = {column for column in source_columns if column is not None}
        inside = [row for row in source_rows if row is not None]
        above = next((index for index, row in enumerate(source_rows) if row is not None), 0)
        pixels = bytearray(width * height)
        if not inside:
            return bytes(pixels)
        pick = itemgetter(*inside) if len(inside) > 1 else lambda column: (column[inside[0]],)
        columns = {index: bytes(pick(column)) for index, column in self._columns(wanted)}
        for x, source in enumerate(source_columns):
            if source is not None and source in columns:
                pixels[above * width + x : (above + len(inside)) * width : width] = columns[source]
        return bytes(pixels)

    def _columns(self, wanted: set[int]) -> Iterator[tuple[int, bytearray]]:
        """The wanted columns that hold at least one 1."""
        height = self.size[0]
        column, index = bytearray(height), -1
        for start, end in _runs(self.counts):
            while start < end:
                if start // height != index:
                    if index in wanted:
                        yield index, column
                    column, index = bytearray(height), start // height
                stop = min(end, (index + 1) * height)
                column[start - index * height : stop - index * height] = b"\x01" * (stop - start)
                start = stop
        if index in wanted:
            yield index, column


def _runs(counts: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Beginning and end of each run of ones."""
    ends = list(accumulate(counts))
    return zip(ends[::2], ends[1::2], strict=False)


def _samples(start: float, end: float, count: int, size: int) -> list[int | None]:
    """For each of `count` pixel centres between two fractions, the source pixel under it, None outside."""
    positions = (start + (index + 0.5) / count * (end - start) for index in range(count))
    return [min(size - 1, int(value * size)) if 0 <= value < 1 else None for value in positions]


def _span(samples: list[int | None], first: float, last: float) -> tuple[int, int]:
    """Where the samples whose source pixels lie from `first` up to `last` begin and end."""
    found = [
        index
        for index, source in enumerate(samples)
        if source is not None and first - 0.5 < source < last - 0.5
    ]
    return (found[0], found[-1] + 1) if found else (0, 0)


Mask = Polygon | RunLength
