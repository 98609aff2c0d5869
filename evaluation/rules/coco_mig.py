"""COCO-MIG's scores (MIGC, arXiv 2402.05408): every instance in its box, in its colour.

Everything is measured on a picture of 512 × 512 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .boxes import PixelBox, overlap, suppress

SIDE = 512
BOX_THRESHOLD = 0.25
SUPPRESSED_ABOVE = 0.8
_LOCATED = 0.5
_COLORED = 0.2
FEWEST, MOST = 2, 6
LEVELS = tuple(range(FEWEST, MOST + 1))

# Ranges of hue (0 to 180), saturation and value (0 to 255), both ends included, as OpenCV counts in bytes.
COLORS: Mapping[str, tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...]] = {
    "red": (((0, 50, 70), (9, 255, 255)), ((159, 50, 70), (180, 255, 255))),
    "blue": (((90, 50, 70), (128, 255, 255)),),
    "yellow": (((25, 50, 70), (35, 255, 255)),),
    "green": (((36, 50, 70), (89, 255, 255)),),
    "black": (((0, 0, 0), (180, 255, 30)),),
    "white": (((0, 0, 221), (180, 43, 255)),),
    "brown": (((6, 43, 35), (25, 255, 255)),),
}
# Fixed point of OpenCV's conversion.
_SHIFT = 12
_HALF = 1 << (_SHIFT - 1)

Bytes = NDArray[np.uint8]


class Verdict(NamedTuple):
    """What became of an instance; its overlap counts as 0 if it stands right in a wrong colour."""

    located: bool
    colored: bool
    overlap: float

    @property
    def success(self) -> bool:
        return self.located and self.colored


def split_label(label: str) -> tuple[str, str]:
    """Colour and class of "a red dining table": the second word and those after it; ValueError for less."""
    words = label.split(" ")
    if len(words) < 3:
        raise ValueError(f'"{label}" is no label of COCO-MIG; "a red dining table" is one')
    return words[1], " ".join(words[2:])


def best_overlap(boxes: Sequence[PixelBox], scores: Sequence[float], target: PixelBox) -> float:
    """The highest overlap with a box of those detections that no better one suppresses; 0 without any."""
    kept = suppress(boxes, scores, SUPPRESSED_ABOVE)
    return max((overlap(boxes[index], target) for index in kept), default=0.0)


def is_located(best: float) -> bool:
    """Whether an overlap is enough to look at the colour."""
    return best >= _LOCATED


def verdict(best: float, color: float) -> Verdict:
    """From the best overlap and the share of the mask in the right colour, which matters if it is located."""
    if not is_located(best):
        return Verdict(False, False, best)
    colored = color >= _COLORED
    return Verdict(True, colored, best if colored else 0.0)


def color_share(picture: Bytes, mask: NDArray[np.bool_], color: str) -> float:
    """The share of a mask (h, w) in a colour's ranges; picture (h, w, 3) red, green, blue. 0 if empty."""
    pixels = picture[mask]
    if not len(pixels):
        return 0.0
    hsv = to_hsv(pixels)
    inside = np.zeros(len(pixels), dtype=bool)
    for low, high in COLORS[color]:
        inside |= ((hsv >= np.array(low)) & (hsv <= np.array(high))).all(axis=-1)
    return float(inside.mean())


def to_hsv(pixels: Bytes) -> NDArray[np.int64]:
    """Hue 0 to 180, saturation and value 0 to 255 of pixels (..., 3) red, green, blue, as OpenCV rounds."""
    r, g, b = (pixels[..., channel].astype(np.int64) for channel in range(3))
    value = np.maximum(np.maximum(r, g), b)
    spread = value - np.minimum(np.minimum(r, g), b)
    steps = np.arange(256)
    with np.errstate(divide="ignore"):
        of_value = np.rint(np.where(steps > 0, (255 << _SHIFT) / steps, 0)).astype(np.int64)
        of_spread = np.rint(np.where(steps > 0, (180 << _SHIFT) / (6.0 * steps), 0)).astype(np.int64)
    saturation = (spread * of_value[value] + _HALF) >> _SHIFT
    sector = np.where(value == r, g - b, np.where(value == g, b - r + 2 * spread, r - g + 4 * spread))
    hue = (sector * of_spread[spread] + _HALF) >> _SHIFT
    return np.stack((np.where(hue < 0, hue + 180, hue), saturation, value), axis=-1)


def fitted(picture: Bytes) -> Bytes:
    """A picture (h, w, 3) at 512 × 512, linearly between the nearest pixels, as the scorer resizes."""
    if picture.shape[:2] == (SIDE, SIDE):
        return picture
    values = picture.astype(np.float64)
    for axis in (0, 1):
        length = values.shape[axis]
        places = np.clip((np.arange(SIDE) + 0.5) * length / SIDE - 0.5, 0, length - 1)
        below = np.floor(places).astype(np.int64)
        part = (places - below).reshape(-1, *[1] * (2 - axis))
        above = np.minimum(below + 1, length - 1)
        values = values.take(below, axis) * (1 - part) + values.take(above, axis) * part
    return np.rint(values).astype(np.uint8)


def metrics(pictures: Sequence[Sequence[Verdict]]) -> dict[str, float | list[float | None]]:
    """The metrics file of the official scorer, as spelled there; None for a level without pictures.

    Averages run over all instances or pictures, not over levels.
    """

    def mean(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if values else None

    def levels(values: Sequence[Sequence[float]]) -> list[float | None]:
        return [
            mean([v for p, own in zip(pictures, values, strict=True) if len(p) == n for v in own])
            for n in LEVELS
        ]

    overlaps = [[one.overlap for one in picture] for picture in pictures]
    successes = [[float(one.success) for one in picture] for picture in pictures]
    whole = [[float(all(one.success for one in picture))] for picture in pictures]
    flat = [[v for own in some for v in own] for some in (overlaps, successes, whole)]
    return {
        "sucess_ratio": mean(flat[2]) or 0.0,
        "success_level_ratio": levels(whole),
        "inst_sucess_ratio": mean(flat[1]) or 0.0,
        "inst_level_sucess_ratio": levels(successes),
        "miou": mean(flat[0]) or 0.0,
        "miou_level": levels(overlaps),
    }
