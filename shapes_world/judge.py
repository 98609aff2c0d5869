"""The judge: things in a picture of Shapes World, read from its pixels alone, and matched to boxes by IoU.

Classic analysis with nothing learned: every decision follows from how the world paints, the few thresholds
are set on fresh renders, and what resembles nothing is called "unknown" instead of the nearest class.

- Things stand out from a light, hardly saturated background; neighbours of different colour are told apart by
  chromaticity, which the dark marks of a pattern share with the rest of their figure.
- The shape is the outline of the world's own shapes, at any tilt it paints, that overlaps best.
- The pattern follows from how much of the figure is dark and from the directions of its brightness gradient:
  one direction in stripes, two crossing ones in checks, all in dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from ..layout import Box
from .outlines import outline
from .vocabulary import BACKGROUNDS, COLORS, SHAPES
from .world import mask_box

UNKNOWN = "unknown"

# Distance from the background, out of 255: half of that between the closest pair (pink on lavender, 135).
_STANDS_OUT = 64.0
# A background is at least this bright and at most this colourful (largest minus smallest component).
_BACKGROUND_VALUE, _BACKGROUND_CHROMA = 150, 48
# A thing covers at least this share of the picture; the smallest star of the world covers 0.9 %.
_SMALLEST = 0.004
# Colours are decided by a vote over this share of the picture's side, so that mixed edges do not count.
_VOTE = 0.04
_TEMPLATE_SIDE = 48
_TILTS = tuple(math.radians(degrees) for degrees in range(-10, 11, 2))
_RECOGNISABLE = 0.7
_DARK = 0.68
_PLAIN_BELOW, _STRIPED_ABOVE = 0.08, 0.5
# Checks are half dark and have two directions, dots a quarter dark and none; blur weakens the directions.
_CHECKED_ABOVE = 0.43

Mask = NDArray[np.bool_]
Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reading:
    """One thing found in a picture.

    `mask` (height, width) bool; `overlap` tells how well the shape fits, 0 to 1;
    `shape`, `color` and `pattern` are words of the world or "unknown".
    """

    box: Box
    shape: str
    color: str
    pattern: str
    overlap: float
    mask: Mask


def read_things(image: NDArray[np.uint8]) -> list[Reading]:
    """Find and read everything in a picture (height, width, 3); largest things first."""
    pixels = image.astype(np.float32)
    found = [_read(pixels, mask, color) for mask, color in find_things(pixels)]
    return sorted(found, key=lambda reading: -int(reading.mask.sum()))


def find_things(pixels: Pixels) -> Iterator[tuple[Mask, str]]:
    """Mask and colour of every thing in a picture (height, width, 3) of 0 to 255."""
    height, width, _ = pixels.shape
    distance = np.linalg.norm(pixels - _background(pixels), axis=-1)
    away = distance > _STANDS_OUT
    votes = _color_votes(pixels, away)
    smallest = _SMALLEST * height * width
    for index, color in enumerate(COLORS):
        labels = _connected(away & (votes == index))
        for label, window in enumerate(ndimage.find_objects(labels), start=1):
            part = labels[window] == label
            # The edge is half way to the background; the brighter part of a pattern is the nearer one.
            part &= distance[window] > 0.5 * np.percentile(distance[window][part], 25)
            if part.sum() >= smallest:
                mask = np.zeros((height, width), dtype=bool)
                mask[window] = ndimage.binary_fill_holes(part)
                yield mask, color


def _connected(mask: Mask) -> NDArray[np.int32]:
    """Parts that hang together, numbered from 1."""
    label: Any = ndimage.label
    return label(mask)[0]


def _background(pixels: Pixels) -> NDArray[np.float32]:
    """The median of all pixels that could be background, of all pixels if there are none."""
    high, low = pixels.max(axis=-1), pixels.min(axis=-1)
    light = (high >= _BACKGROUND_VALUE) & (high - low <= _BACKGROUND_CHROMA)
    return np.median(pixels[light] if light.any() else pixels.reshape(-1, 3), axis=0)


def read_background(image: NDArray[np.uint8]) -> str:
    """The word for the background of a picture (height, width, 3)."""
    color = _background(image.astype(np.float32))
    return min(BACKGROUNDS, key=lambda name: float(np.square(color - BACKGROUNDS[name]).sum()))


def _color_votes(pixels: Pixels, away: Mask) -> NDArray[np.int64]:
    """For each pixel the colour that most of the things around it have."""
    palette = np.array(list(COLORS.values()), dtype=np.float32)
    palette /= palette.max(axis=-1, keepdims=True)
    hues = pixels / np.maximum(pixels.max(axis=-1, keepdims=True), 1)
    distances = np.stack([((hues - color) ** 2).sum(axis=-1) for color in palette])
    nearest = distances.argmin(axis=0)
    size = max(3, round(_VOTE * math.sqrt(away.size)) | 1)
    # Bright, colourful pixels know their colour best.
    chroma = pixels.max(axis=-1) - pixels.min(axis=-1)
    ballots = [
        ndimage.uniform_filter(np.where(away & (nearest == index), chroma, 0), size)
        for index in range(len(palette))
    ]
    return np.argmax(ballots, axis=0)


def _read(pixels: Pixels, mask: Mask, color: str) -> Reading:
    shape, overlap = read_shape(mask)
    return Reading(mask_box(mask), shape, color, read_pattern(pixels, mask), overlap, mask)


def read_shape(mask: Mask) -> tuple[str, float]:
    """The best fitting shape and its overlap (intersection over union), "unknown" when nothing fits."""
    seen = _normalized(mask)
    overlaps = {shape: max(_overlap(seen, template) for template in _templates(shape)) for shape in SHAPES}
    shape = max(overlaps, key=overlaps.__getitem__)
    return (shape if overlaps[shape] >= _RECOGNISABLE else UNKNOWN), overlaps[shape]


def _overlap(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


@cache
def _templates(shape: str) -> tuple[Mask, ...]:
    """The shape at every tilt, scaled as `_normalized` scales what it sees."""
    masks = []
    for tilt in _TILTS:
        c, s = math.cos(tilt), math.sin(tilt)
        points = outline(shape) @ np.array([[c, s], [-s, c]])
        drawn = Image.new("1", (400, 400))
        ImageDraw.Draw(drawn).polygon((points * 300 + 200).flatten().tolist(), fill=1)
        masks.append(_normalized(np.asarray(drawn)))
    return tuple(masks)


def _normalized(mask: Mask) -> Mask:
    """A mask's bounding box, its larger side scaled to the template's, centred."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    reach = max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    window = (x - reach, y - reach, x + reach, y + reach)
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    side = (_TEMPLATE_SIDE, _TEMPLATE_SIDE)
    scaled = picture.transform(side, Image.Transform.EXTENT, window, Image.Resampling.BILINEAR)
    return np.asarray(scaled) >= 128


def read_pattern(pixels: Pixels, mask: Mask) -> str:
    """The pattern inside a mask, "unknown" when too little of it is left inside the edge."""
    dark, single, crossed = pattern_features(pixels, mask)
    if math.isnan(dark):
        return UNKNOWN
    if dark < _PLAIN_BELOW:
        return "plain"
    if single > _STRIPED_ABOVE:
        return "striped"
    return "checked" if dark + 0.25 * crossed > _CHECKED_ABOVE else "dotted"


def pattern_features(pixels: Pixels, mask: Mask) -> tuple[float, float, float]:
    """Share of dark pixels, and how far gradients agree on one direction and on two crossing ones (0..1).

    Directions are compared by the second and fourth circular moment of the gradient's angle, weighted by its
    squared length. Not a number for a mask without inside.
    """
    inside = ndimage.binary_erosion(mask, iterations=max(1, round(0.012 * math.sqrt(mask.size))))
    if inside.sum() < 16:
        return math.nan, math.nan, math.nan
    value = pixels.max(axis=-1)
    dark = float((value[inside] < _DARK * np.percentile(value[inside], 95)).mean())
    smooth = ndimage.gaussian_filter(value, 1.0)
    sobel: Any = ndimage.sobel
    across, down = sobel(smooth, axis=1)[inside], sobel(smooth, axis=0)[inside]
    square = (across + 1j * down) ** 2
    total = float(np.abs(square).sum()) or 1.0
    # The moment of order 2, weighted by length squared, is the square itself; that of order 4 its own square.
    fourth = square**2 / np.maximum(np.abs(square), 1e-6)
    return dark, float(abs(square.sum())) / total, float(abs(fourth.sum())) / total


def match(readings: Sequence[Reading], boxes: Sequence[Box]) -> list[tuple[Reading | None, float]]:
    """For each box the reading of highest overlap (intersection over union) with it, and that overlap.

    Each reading serves one box: pairs are taken in the order of their overlap.
    """
    pairs = sorted(
        ((box_overlap(r.box, box), i, j) for i, r in enumerate(readings) for j, box in enumerate(boxes)),
        reverse=True,
    )
    taken: set[int] = set()
    matched: list[tuple[Reading | None, float]] = [(None, 0.0)] * len(boxes)
    for overlap, i, j in pairs:
        if overlap > 0 and i not in taken and matched[j][0] is None:
            taken.add(i)
            matched[j] = (readings[i], overlap)
    return matched


def box_overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    common = max(width, 0) * max(height, 0)
    return common / (a.area + b.area - common) if common else 0.0
