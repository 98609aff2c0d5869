"""Scenes to pixels: antialiased pictures, and the exact mask of everything in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .outlines import outline
from .scenes import Figure, Scene

# Outlines are drawn four times as large and averaged: 17 levels of coverage at an edge.
SUPERSAMPLING = 4
# The marks of a pattern have the hue of their figure, at this fraction of its brightness.
MARK_BRIGHTNESS = 0.35
# Pattern period as a fraction of the diameter, and the shortest in pixels: what an autoencoder of factor 8
# can still hold, and what shows at least two marks on the thinnest shape.
PERIODS = {"plain": (1.0, 1.0), "striped": (0.26, 11.0), "dotted": (0.23, 10.0), "checked": (0.3, 12.0)}


@dataclass(frozen=True, eq=False)
class Painting:
    """image (height, width, 3) uint8; masks (figures, height, width) bool, what can be seen of each."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]


def paint(scene: Scene) -> Painting:
    """Paint a scene. A pixel belongs to the mask of the front-most figure that covers at least half of it."""
    canvas = np.empty((scene.height, scene.width, 3), dtype=np.float32)
    canvas[:] = scene.background_rgb
    masks = np.zeros((len(scene.figures), scene.height, scene.width), dtype=bool)
    for index, figure in enumerate(scene.figures):
        (x, y), coverage = _coverage(figure, scene.width, scene.height)
        height, width = coverage.shape
        rows, columns = slice(y, y + height), slice(x, x + width)
        color = _color(figure, x, y, width, height)
        canvas[rows, columns] += coverage[..., None] * (color - canvas[rows, columns])
        inside = coverage >= 0.5
        masks[:index, rows, columns] &= ~inside
        masks[index, rows, columns] = inside
    return Painting(np.rint(np.clip(canvas, 0, 255)).astype(np.uint8), masks)


def _coverage(figure: Figure, width: int, height: int) -> tuple[tuple[int, int], NDArray[np.float32]]:
    """Left and top of the part of the canvas a figure touches, and how much of each pixel it covers."""
    c, s = math.cos(figure.tilt), math.sin(figure.tilt)
    points = outline(figure.look.shape) @ np.array([[c, s], [-s, c]]) * figure.diameter + figure.center
    x0, y0 = np.maximum(np.floor(points.min(axis=0)), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(points.max(axis=0)), (width, height)).astype(int)
    large = Image.new("L", (int(x1 - x0) * SUPERSAMPLING, int(y1 - y0) * SUPERSAMPLING))
    # Pillow draws a polygon through the centres of pixels: half a sub-pixel off the corner coordinates.
    corners = ((points - (x0, y0)) * SUPERSAMPLING - 0.5).flatten().tolist()
    ImageDraw.Draw(large).polygon(corners, fill=255)
    coverage = np.asarray(large.reduce(SUPERSAMPLING), dtype=np.float32)
    return (int(x0), int(y0)), (coverage / 255).astype(np.float32)


def _color(figure: Figure, left: int, top: int, width: int, height: int) -> NDArray[np.float32]:
    """The colour of every pixel of a part of the canvas, as if the figure covered all of it."""
    x = np.arange(left, left + width, dtype=np.float32)[None] + 0.5 - figure.center[0]
    y = np.arange(top, top + height, dtype=np.float32)[:, None] + 0.5 - figure.center[1]
    c, s = math.cos(figure.tilt), math.sin(figure.tilt)
    share, shortest = PERIODS[figure.look.pattern]
    period = figure.period * max(share * figure.diameter, shortest)
    u = (c * x + s * y) / period + figure.phase[0]
    v = (c * y - s * x) / period + figure.phase[1]
    marks = _marks(figure.look.pattern, u.astype(np.float32), v.astype(np.float32), period)
    brightness = 1 - (1 - MARK_BRIGHTNESS) * marks
    return brightness[..., None] * np.array(figure.rgb, dtype=np.float32)


def _marks(
    pattern: str, u: NDArray[np.float32], v: NDArray[np.float32], period: float
) -> NDArray[np.float32]:
    """Share of each pixel that is a mark, for coordinates u, v in periods; edges are one pixel soft."""
    if pattern == "plain":
        return np.zeros(np.broadcast_shapes(u.shape, v.shape), dtype=np.float32)
    if pattern == "striped":
        # Across the diagonal, so that stripes are neither rows nor columns of the autoencoder's grid.
        distance = np.abs(_wrapped((u + v) * math.sqrt(0.5))) - 0.25
    elif pattern == "dotted":
        distance = np.hypot(_wrapped(u), _wrapped(v)) - 0.3
    elif pattern == "checked":
        # Fields of a period's half; the sign of the product tells dark from light.
        du, dv = np.abs(_wrapped(u)) - 0.25, np.abs(_wrapped(v)) - 0.25
        distance = np.sign(du) * np.sign(dv) * np.minimum(np.abs(du), np.abs(dv))
    else:
        raise ValueError(f"there is no pattern {pattern!r}")
    return np.clip(0.5 - distance * period, 0, 1).astype(np.float32)


def _wrapped(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The offset from the nearest integer, -0.5 to 0.5."""
    return x - np.round(x)
