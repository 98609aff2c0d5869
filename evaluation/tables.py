"""Numbers and tables as reports print them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..generation.methods import Method
from ..shapes_world import Look
from .records import Record
from .scenes import Scenes
from .statistics import Estimate, Floats

BOOTSTRAP = 2000


def settings(plan: Scenes, records: Sequence[Record], noun: str) -> str:
    """What was run, in a sentence; `noun` is what the scenes are to the methods: "layouts", "prompts"."""
    things = sum(record["things"] for record in records)
    width, height = plan.size
    return (
        f"{len(records)} {noun} of {plan.split} looks, {min(plan.figures)} to {max(plan.figures)} things "
        f"each, {things} in all; {width} × {height} pixels, {plan.steps} steps of {plan.sampler} "
        f"({plan.scheduler}), guidance {plan.cfg:g}, one picture a {noun.removesuffix('s')}, the same noise "
        "for every method. Brackets are 95 % intervals."
    )


def by_count(
    groups: Mapping[str, Sequence[Record]],
    methods: Mapping[str, Method],
    rate: Callable[[Sequence[Record], Floats], Floats],
) -> str:
    """A table of a rate by the number of things in the picture, in per cent."""
    counts = sorted({record["things"] for records in groups.values() for record in records})
    body: list[Sequence[str]] = []
    for method, records in groups.items():
        cells: list[str] = []
        for count in counts:
            some = [record for record in records if record["things"] == count]
            cells.append(f"{100 * rate(some, np.ones((1, len(some))))[0]:.1f}")
        body.append((methods[method].label, *cells))
    return table(("method", *(f"{count} things" for count in counts)), body)


def by_word(
    groups: Mapping[str, Sequence[Record]],
    methods: Mapping[str, Method],
    words: Sequence[str],
    looks: Mapping[int, Sequence[Look]],
    rate: Callable[[Sequence[Record], Floats], Floats],
) -> str:
    """A table of a rate among the things with each of these words, in per cent; `looks` by scene number."""
    body: list[Sequence[str]] = []
    for method, records in groups.items():
        cells: list[str] = []
        for word in words:
            some = [
                {
                    **record,
                    "instances": [
                        instance
                        for instance, look in zip(record["instances"], looks[record["number"]], strict=True)
                        if word in look
                    ],
                }
                for record in records
            ]
            cells.append(f"{100 * rate(some, np.ones((1, len(some))))[0]:.1f}")
        body.append((methods[method].label, *cells))
    return table(("method", *words), body)


def percent(estimate: Estimate) -> str:
    """A share with its interval, in per cent."""
    return plain(Estimate(*(100 * one for one in estimate)), 1)


def plain(estimate: Estimate, digits: int = 3) -> str:
    """A value with its interval, a dash where there is none: a share of nothing."""
    if not np.isfinite(estimate.value):
        return "–"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def seconds(records: Sequence[Record]) -> float | None:
    """CPU seconds a picture, None for what was not sampled."""
    taken = [record["seconds"] for record in records]
    return None if None in taken else float(np.mean([one["cpu"] for one in taken]))


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """In Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
