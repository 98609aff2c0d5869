"""Outlines of the shapes: polygons of diameter 1 around the origin."""

from __future__ import annotations

from functools import cache
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float64]


@cache
def outline(shape: str) -> Outline:
    """The corners (N, 2) of a shape as x, y, y downwards; its larger side is 1 and its bounds are centred."""
    points = np.array(_MAKERS[shape](), dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / (high - low).max()


def _regular(corners: int, turn: float = 0.0) -> list[tuple[float, float]]:
    return [(sin(turn + 2 * pi * k / corners), -cos(turn + 2 * pi * k / corners)) for k in range(corners)]


def _star() -> list[tuple[float, float]]:
    # 0.45 between the radii of tips and notches: fat enough to show a pattern.
    outer, inner = _regular(5), _regular(5, pi / 5)
    return [p for tip, (x, y) in zip(outer, inner, strict=True) for p in (tip, (0.45 * x, 0.45 * y))]


def _cross() -> list[tuple[float, float]]:
    arm = 0.38
    quarter = [(-arm, -1.0), (arm, -1.0), (arm, -arm)]
    turned = [quarter]
    for _ in range(3):
        turned.append([(-y, x) for x, y in turned[-1]])
    return [point for part in turned for point in part]


def _heart() -> list[tuple[float, float]]:
    # The usual parametric heart curve; 48 points are smooth at 256 pixels.
    return [
        (
            16 * sin(t) ** 3,
            -(13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)),
        )
        for t in (2 * pi * k / 48 for k in range(48))
    ]


_MAKERS = {
    "circle": lambda: _regular(64),
    "square": lambda: _regular(4, pi / 4),
    "triangle": lambda: _regular(3),
    "diamond": lambda: [(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)],
    "star": _star,
    "cross": _cross,
    "heart": _heart,
}
