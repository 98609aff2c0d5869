"""Free-form regions: polygons and run-lengths. Both lie over the whole canvas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil
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
        edges = pairwise((*self.points, *self.points[:1]))
        if abs(sum(xa * yb - xb * ya for (xa, ya), (xb, yb) in edges)) > 1e-12:
            return False
        # The loops of a crossing outline may cancel out, so look at the inside itself.
        return len(self.points) < 3 or not any(self.raster(64, 64))

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

    def paint(self, pixels: bytearray, width: int, height: int) -> None:
        """Set the bytes of a row-major raster that the polygon covers; the others stay as they are."""
        for row, start, end in self.spans(width, height):
            pixels[row * width + start : row * width + end] = b"\x01" * (end - start)

    def spans(self, width: int, height: int) -> Iterator[tuple[int, int, int]]:
        """Row, first column and the column after the last of each run of pixels inside."""
        for row, crossings in self._crossings(height).items():
            crossings.sort()
            for left, right in zip(crossings[::2], crossings[1::2], strict=True):
                # A centre on an edge belongs to the shape on its right, so that neighbours tile.
                start, end = ceil(left * width - 0.5), ceil(right * width - 0.5)
                if start < end and start < width and end > 0:
                    yield row, start if start > 0 else 0, end if end < width else width

    def work(self, height: int) -> int:
        """Crossings of the outline with rows, which is what `spans` takes time for."""
        rows = [min(1.0, max(0.0, y)) * height for _, y in (*self.points, *self.points[:1])]
        return sum(ceil(abs(one - other)) + 1 for one, other in pairwise(rows))

    def _crossings(self, height: int) -> dict[int, list[float]]:
        """Crossings of the outline with the centre line of each row that it reaches."""
        crossings: dict[int, list[float]] = {}
        for (xa, ya), (xb, yb) in pairwise((*self.points, *self.points[:1])):
            if ya == yb:
                continue
            top, bottom = min(ya, yb), max(ya, yb)
            first = max(0, ceil(top * height - 0.5))
            last = min(height, ceil(bottom * height - 0.5))
            across, down = xb - xa, yb - ya
            for row in range(first, last):
                crossing = xa + ((row + 0.5) / height - ya) * across / down
                if row in crossings:
                    crossings[row].append(crossing)
                else:
                    crossings[row] = [crossing]
        return crossings


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
    def union(cls, polygons: Iterable[Polygon], width: int, height: int) -> RunLength:
        """All that polygons cover, in the time that the box around them takes."""
        spans = [span for polygon in polygons for span in polygon.spans(width, height)]
        if not spans:
            return cls((height, width), (height * width,))
        top, bottom = min(row for row, _, _ in spans), max(row for row, _, _ in spans) + 1
        left, right = min(start for _, start, _ in spans), max(end for _, _, end in spans)
        columns, rows = right - left, bottom - top
        pixels = bytearray(columns * rows)
        for row, start, end in spans:
            place = (row - top) * columns - left
            pixels[place + start : place + end] = b"\x01" * (end - start)
        counts: list[int] = []
        done = 0
        for column in range(columns):
            line, first = pixels[column::columns], (left + column) * height + top
            start = line.find(1)
            while start >= 0:
                end = line.find(0, start)
                end = rows if end < 0 else end
                if counts and first + start == done:
                    counts[-1] += end - start  # goes on from the foot of the column before
                else:
                    counts += [first + start - done, end - start]
                done, start = first + end, line.find(1, end)
        return cls((height, width), (*counts, *([height * width - done] if done < height * width else [])))

    @property
    def is_empty(self) -> bool:
        """Whether there is no 1."""
        return not any(self.counts[1::2])

    @property
    def bounds(self) -> Box:
        """The smallest box around the ones; a box of no size when there are none."""
        height, width = self.size
        left, top, right, bottom = width, height, 0, 0
        ends = list(accumulate(self.counts))
        for start, end in zip(ends[::2], ends[1::2], strict=False):
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
        return self._sample(WHOLE, width, height)

    def seen_through(self, window: Box) -> RunLength:
        """The mask as it lies in `window` (fractions; x0 > x1 mirrors), at about the same resolution."""
        width = min(LONGEST_SIDE, max(1, round(abs(window.width) * self.size[1])))
        height = min(LONGEST_SIDE, max(1, round(abs(window.height) * self.size[0])))
        return RunLength.from_raster(self._sample(window, width, height), width, height)

    def _sample(self, window: Box, width: int, height: int) -> bytes:
        """Nearest samples of a window, zero outside the mask."""
        source_columns = _samples(window.x0, window.x1, width, self.size[1])
        source_rows = _samples(window.y0, window.y1, height, self.size[0])
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
        ends = list(accumulate(self.counts))
        column, index = bytearray(height), -1
        for start, end in zip(ends[::2], ends[1::2], strict=False):
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


def _samples(start: float, end: float, count: int, size: int) -> list[int | None]:
    """For each of `count` pixel centres between two fractions, the source pixel under it, None outside."""
    positions = (start + (index + 0.5) / count * (end - start) for index in range(count))
    return [min(size - 1, int(value * size)) if 0 <= value < 1 else None for value in positions]


Mask = Polygon | RunLength
