"""Score of a picture against its prompt, wherever things are, as the judge sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ...layout import Layout
from ...shapes_world import Look, parse
from ...shapes_world.judge import Reading, read_things
from ...shapes_world.world import run_length
from .placement import placement

# What agreement is worth, each more than all that follows it can add up to in one picture of 8 things.
_SHAPE, _WHOLE, _ATTRIBUTE = 1000, 20, 1


def score(image: NDArray[np.uint8], layout: Layout) -> dict[str, Any]:
    """Score of a picture (height, width, 3) by the judge, as plain JSON values.

    Beside what `placement.score` says of places: `bindings` (see there) of the things the prompt names, and
    `extra`, how many things there are beyond those.
    """
    readings = read_things(image)
    phrases, _ = parse(layout.prompt)
    things = [phrase.look for phrase in phrases]
    return {
        **placement(readings, layout),
        "bindings": bindings(readings, things),
        "extra": max(0, len(readings) - len(things)),
    }


def bindings(readings: Sequence[Reading], things: Sequence[Look]) -> list[dict[str, bool]]:
    """For each thing of a prompt what became of it, by the reading that `assign` gives it.

    `present`: the shape is there; without it nothing else holds. `color`, `pattern`: right. `swapped`: a
    colour or pattern that is wrong is one that the prompt names for another thing; "plain" is not named.
    """
    found: list[dict[str, bool]] = []
    for index, (thing, reading) in enumerate(zip(things, assign(readings, things), strict=True)):
        if reading is None or reading.shape != thing.shape:
            found.append(dict.fromkeys(("present", "color", "pattern", "swapped"), False))
            continue
        others = [*things[:index], *things[index + 1 :]]
        color, pattern = reading.color == thing.color, reading.pattern == thing.pattern
        named = {other.pattern for other in others} - {"plain"}
        swapped = (not color and reading.color in {other.color for other in others}) or (
            not pattern and reading.pattern in named
        )
        found.append({"present": True, "color": color, "pattern": pattern, "swapped": swapped})
    return found


def outlined(layout: Layout, readings: Sequence[Reading]) -> Layout:
    """The layout with the outlines of what is found for the things of its prompt, by shape as in `bindings`.

    Instances whose shape is not found are left out; colours and patterns may be wrong.
    """
    phrases, _ = parse(layout.prompt)
    things = [phrase.look for phrase in phrases]
    found = zip(layout.instances, things, assign(readings, things), strict=True)
    return replace(
        layout,
        instances=tuple(
            replace(instance, box=reading.box, mask=run_length(reading.mask))
            for instance, thing, reading in found
            if reading is not None and reading.shape == thing.shape
        ),
    )


def assign(readings: Sequence[Reading], things: Sequence[Look]) -> list[Reading | None]:
    """The reading that stands for each thing, each for one: the assignment that agrees most.

    What counts first is the number of things with a reading of their shape, because attributes are bound to
    it; then that of things with everything right; then that of attributes.
    """
    chosen: list[Reading | None] = [None] * len(things)
    if readings:
        worth = np.array([[_agreement(reading, thing) for reading in readings] for thing in things])
        for thing, reading in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
            chosen[thing] = readings[reading]
    return chosen


def _agreement(reading: Reading, thing: Look) -> int:
    shape, color, pattern = (getattr(reading, name) == getattr(thing, name) for name in Look._fields)
    return _SHAPE * shape + _WHOLE * (shape and color and pattern) + _ATTRIBUTE * (color + pattern)
