"""Edits of a scene, each of which makes it a little less, or otherwise, what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .scenes import MOST_FIGURES, Figure, Scene, draw_scene
from .vocabulary import BACKGROUNDS, COLORS, PATTERNS, SHAPES, Look

_EDITS = (0.55, 0.3, 0.15)
_TRIES = 20


def vary(random: np.random.Generator, scene: Scene, allowed: frozenset[Look]) -> Scene:
    """The scene with one to three things changed, its looks still different and allowed."""
    count = int(random.choice(len(_EDITS), p=_EDITS)) + 1
    varied = scene
    for _ in range(count):
        for _ in range(_TRIES):
            edit = _EDITORS[int(random.choice(len(_EDITORS), p=_SHARES))]
            tried = edit(random, varied)
            shown = [figure.look for figure in tried.figures]
            if tried is not varied and len({*shown}) == len(shown) and allowed.issuperset(shown):
                varied = tried
                break
    return varied


def _exchange_attribute(random: np.random.Generator, scene: Scene) -> Scene:
    """Two things exchange shape, colour or pattern: the same words, bound otherwise."""
    if len(scene.figures) < 2:
        return scene
    first, second = (int(n) for n in random.choice(len(scene.figures), 2, replace=False))
    a, b = scene.figures[first], scene.figures[second]
    field = _FIELDS[int(random.integers(3))]
    changed = [*scene.figures]
    changed[first] = _with(a, field, getattr(b.look, field))
    changed[second] = _with(b, field, getattr(a.look, field))
    return replace(scene, figures=tuple(changed))


def _change_attribute(random: np.random.Generator, scene: Scene) -> Scene:
    """One thing gets another shape, colour or pattern."""
    number = int(random.integers(len(scene.figures)))
    field = _FIELDS[int(random.integers(3))]
    choices = {"shape": SHAPES, "color": tuple(COLORS), "pattern": PATTERNS}[field]
    changed = [*scene.figures]
    changed[number] = _with(changed[number], field, str(random.choice(choices)))
    return replace(scene, figures=tuple(changed))


def _exchange_places(random: np.random.Generator, scene: Scene) -> Scene:
    """Two things exchange their places and sizes."""
    if len(scene.figures) < 2:
        return scene
    first, second = (int(n) for n in random.choice(len(scene.figures), 2, replace=False))
    a, b = scene.figures[first], scene.figures[second]
    changed = [*scene.figures]
    changed[first] = replace(a, center=b.center, diameter=b.diameter)
    changed[second] = replace(b, center=a.center, diameter=a.diameter)
    return replace(scene, figures=tuple(changed))


def _mirror(random: np.random.Generator, scene: Scene) -> Scene:
    """Everything left goes right, or everything above below."""
    upright = random.random() < 0.5
    figures = (
        replace(
            f,
            center=(f.center[0], scene.height - f.center[1])
            if upright
            else (scene.width - f.center[0], f.center[1]),
        )
        for f in scene.figures
    )
    return replace(scene, figures=tuple(figures))


def _remove(random: np.random.Generator, scene: Scene) -> Scene:
    """One thing less."""
    if len(scene.figures) < 2:
        return scene
    gone = int(random.integers(len(scene.figures)))
    return replace(scene, figures=tuple(f for n, f in enumerate(scene.figures) if n != gone))


def _add(random: np.random.Generator, scene: Scene) -> Scene:
    """One thing more where there is room: one of another scene with as many things as this one would have."""
    count = len(scene.figures) + 1
    if count > MOST_FIGURES:
        return scene
    for figure in draw_scene(random, scene.width, scene.height, count, "train").figures:
        if all(_clear(figure, other) for other in scene.figures):
            return replace(scene, figures=(*scene.figures, figure))
    return scene


def _resize(random: np.random.Generator, scene: Scene) -> Scene:
    """One thing becomes much smaller."""
    number = int(random.integers(len(scene.figures)))
    changed = [*scene.figures]
    changed[number] = replace(
        changed[number], diameter=float(random.uniform(0.5, 0.65)) * changed[number].diameter
    )
    if changed[number].diameter < _SMALLEST * (scene.width * scene.height) ** 0.5:
        return scene
    return replace(scene, figures=tuple(changed))


def _repaint(random: np.random.Generator, scene: Scene) -> Scene:
    """Another background."""
    background = str(random.choice([name for name in BACKGROUNDS if name != scene.background]))
    red, green, blue = (float(value) for value in BACKGROUNDS[background])
    return replace(scene, background=background, background_rgb=(red, green, blue))


def _with(figure: Figure, field: str, value: str) -> Figure:
    look = figure.look._replace(**{field: value})
    red, green, blue = (float(part) for part in COLORS[look.color])
    return replace(figure, look=look, rgb=(red, green, blue))


def _clear(a: Figure, b: Figure) -> bool:
    reach = 0.55 * (a.diameter + b.diameter) + 2
    return abs(a.center[0] - b.center[0]) > reach or abs(a.center[1] - b.center[1]) > reach


_FIELDS = ("shape", "color", "pattern")
# The smallest thing that still shows its pattern.
_SMALLEST = 0.18
_Edit = Callable[[np.random.Generator, Scene], Scene]
_EDITORS: Sequence[_Edit] = (
    _exchange_attribute,
    _change_attribute,
    _exchange_places,
    _mirror,
    _remove,
    _add,
    _resize,
    _repaint,
)
_SHARES = (0.25, 0.2, 0.15, 0.12, 0.06, 0.06, 0.1, 0.06)
