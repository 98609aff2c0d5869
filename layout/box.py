"""Boxes in fractions of the canvas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Fractions may leave the canvas by its own size on each side. Anything beyond is pixels typed by mistake.
LOWEST, HIGHEST = -1.0, 2.0


@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, right, bottom as fractions of the canvas (0 left or top, 1 right or bottom)."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __iter__(self) -> Iterator[float]:
        return iter((self.x0, self.y0, self.x1, self.y1))

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Share of the canvas, 1.0 for all of it (parts outside the canvas count as well)."""
        return self.width * self.height

    def is_finite(self) -> bool:
        return all(math.isfinite(value) for value in self)

    def clipped(self) -> Box | None:
        """The part on the canvas, None when there is none."""
        box = Box(*(min(1.0, max(0.0, value)) for value in self))
        return box if box.width > 0 and box.height > 0 else None

    def to_pixels(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Left, top, width, height in pixels of a canvas of that size."""
        return self.x0 * width, self.y0 * height, self.width * width, self.height * height

    @classmethod
    def from_pixels(cls, pixels: Sequence[float], width: float, height: float) -> Box:
        """From left, top, width, height in pixels of a canvas of `width` × `height`."""
        x, y, box_width, box_height = pixels
        return cls(x / width, y / height, (x + box_width) / width, (y + box_height) / height)


WHOLE = Box(0.0, 0.0, 1.0, 1.0)
