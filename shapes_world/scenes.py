"""Scenes: things with looks, places and sizes, drawn at random before anything is painted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .relations import relation_of
from .vocabulary import (
    BACKGROUNDS,
    COLORS,
    Look,
    Split,
    Weights,
    look_chances,
    looks,
    size_word,
)

MOST_FIGURES = 8
SMALLEST_SIDE = 64

# Diameters, as fractions of the square root of the picture's area, for 1, 2, … things: more things are
# smaller, so that rejection sampling finds room for them.
_DIAMETERS = (
    (0.34, 0.60),
    (0.28, 0.50),
    (0.26, 0.42),
    (0.24, 0.37),
    (0.22, 0.33),
    (0.20, 0.30),
    (0.20, 0.28),
    (0.18, 0.26),
)
_TILT = math.radians(8)
# Painted colours vary a little, as if lit differently: standard deviation out of 255.
_COLOR_JITTER, _BACKGROUND_JITTER = 5.0, 2.5
_PERIOD_JITTER = 0.1
_TRIES_PER_FIGURE, _TRIES = 60, 50


@dataclass(frozen=True)
class Figure:
    """One thing. Centre and diameter in pixels, tilt in radians, colour as painted, 0 to 255.

    `phase` shifts the pattern by fractions of its period, `period` scales it; `size` is the word for the
    size where the caption names it, else empty.
    """

    look: Look
    center: tuple[float, float]
    diameter: float
    tilt: float
    rgb: tuple[float, float, float]
    phase: tuple[float, float]
    period: float
    size: str = ""


@dataclass(frozen=True)
class Scene:
    """A picture to be painted, the last figure in front. Width and height in pixels.

    `relation` is what its caption says of the first figure and the second, empty where it says nothing.
    """

    width: int
    height: int
    background: str
    background_rgb: tuple[float, float, float]
    figures: tuple[Figure, ...]
    relation: str = ""


def draw_scene(
    random: np.random.Generator,
    width: int,
    height: int,
    figures: int,
    split: Split = "all",
    overlap: float = 0.0,
    pattern: str | None = None,
    weights: Weights = (),
) -> Scene:
    """A random scene of 1 to 8 figures whose looks belong to `split`, all different from each other.

    `overlap` is the largest share of a figure's square that another one may cover; at 0 they keep a gap of
    a few pixels. `pattern` leaves only looks with that pattern.
    `weights` are words of looks, each with how much more likely it makes a look.
    """
    if not 1 <= figures <= MOST_FIGURES:
        raise ValueError(f"a scene has 1 to {MOST_FIGURES} figures, not {figures}")
    if min(width, height) < SMALLEST_SIDE:
        raise ValueError(
            f"a scene has at least {SMALLEST_SIDE} pixels on each side, not {width} × {height}; below "
            "that, patterns cannot be seen"
        )
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is a share from 0 up to 1, not {overlap}")
    choices = looks(split, pattern)
    chances = look_chances(choices, weights) if weights else None
    chosen = [choices[i] for i in random.choice(len(choices), figures, replace=False, p=chances)]
    background = str(random.choice(list(BACKGROUNDS)))
    placed = _place(random, width, height, figures, overlap)
    return Scene(
        width,
        height,
        background,
        _jitter(random, BACKGROUNDS[background], _BACKGROUND_JITTER),
        tuple(
            _figure(random, look, circle, math.sqrt(width * height))
            for look, circle in zip(chosen, placed, strict=True)
        ),
    )


def state_relation(scene: Scene) -> Scene:
    """The scene whose caption says how its first two figures stand, if they are far enough apart."""
    if len(scene.figures) < 2:
        return scene
    a, b = ((f.center[0] / scene.width, f.center[1] / scene.height) for f in scene.figures[:2])
    return replace(scene, relation=relation_of(a, b))


def _figure(
    random: np.random.Generator, look: Look, circle: tuple[float, float, float], side: float
) -> Figure:
    x, y, diameter = circle
    # Half of the captions that could name a size do, so that both forms are known.
    named = size_word(diameter / side) if random.random() < 0.5 else ""
    return Figure(
        look,
        (x, y),
        diameter,
        float(random.uniform(-_TILT, _TILT)),
        _jitter(random, COLORS[look.color], _COLOR_JITTER),
        (float(random.random()), float(random.random())),
        float(random.uniform(1 - _PERIOD_JITTER, 1 + _PERIOD_JITTER)),
        named,
    )


def _jitter(
    random: np.random.Generator, rgb: tuple[int, int, int], deviation: float
) -> tuple[float, float, float]:
    r, g, b = np.clip(np.array(rgb) + random.normal(0, deviation, 3), 0, 255).tolist()
    return r, g, b


def _place(
    random: np.random.Generator, width: int, height: int, count: int, overlap: float
) -> list[tuple[float, float, float]]:
    """Centres and diameters without too much overlap, by rejection; starts over when it paints itself in."""
    low, high = (bound * math.sqrt(width * height) for bound in _DIAMETERS[count - 1])
    # In an elongated picture the short side limits.
    high = min(high, 0.8 * min(width, height))
    low = min(low, high)
    for _ in range(_TRIES):
        placed: list[tuple[float, float, float]] = []
        for _ in range(count * _TRIES_PER_FIGURE):
            diameter = float(random.uniform(low, high))
            # Tilted corners reach a little beyond the square of the diameter.
            reach = 0.55 * diameter + 1
            x = float(random.uniform(reach, width - reach))
            y = float(random.uniform(reach, height - reach))
            if all(_fits((x, y, diameter), other, overlap) for other in placed):
                placed.append((x, y, diameter))
            if len(placed) == count:
                return placed
    raise ValueError(f"{count} figures do not fit into {width} × {height} pixels with overlap {overlap}")


def _fits(a: tuple[float, float, float], b: tuple[float, float, float], overlap: float) -> bool:
    reach = (a[2] + b[2]) / 2
    apart_x, apart_y = reach - abs(a[0] - b[0]), reach - abs(a[1] - b[1])
    if overlap == 0:
        gap = 0.05 * reach + 2
        return apart_x <= -gap or apart_y <= -gap
    smaller = min(a[2], b[2])
    covered = min(max(apart_x, 0), smaller) * min(max(apart_y, 0), smaller)
    return covered <= overlap * smaller * smaller
