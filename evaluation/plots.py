"""Plots of results as SVG; the same file for the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from .statistics import Estimate

_SIZE = (9, 3.2)


class Bar(NamedTuple):
    """One method: a rate from 0 to 1 and CPU seconds a picture, None for what was not sampled."""

    label: str
    color: str
    rate: Estimate
    seconds: float | None


class Line(NamedTuple):
    """One method at several strengths: a rate from 0 to 1, and the distance from real pictures."""

    label: str
    strengths: Sequence[float]
    rates: Sequence[Estimate]
    distances: Sequence[Estimate]


def draw_bars(bars: Sequence[Bar], name: str, target: Path) -> None:
    """The rates with their intervals, and against CPU time; `name` is that of the rate."""
    with _figure(target) as (left, cost):
        values = [100 * bar.rate.value for bar in bars]
        errors = _errors([bar.rate for bar in bars], 100)
        places = np.arange(len(bars))[::-1]
        left.barh(places, values, xerr=errors, color=[bar.color for bar in bars], capsize=2)
        left.set_yticks(places, [bar.label for bar in bars])
        left.set(xlabel=f"{name}, %", xlim=(0, 100))
        timed = [(n, bar.seconds) for n, bar in enumerate(bars) if bar.seconds is not None]
        # Room for the names to the right of the dearest, and above the best.
        wide = 2 * max((seconds for _, seconds in timed), default=0) or 1
        high = min(100, 1.3 * max((values[n] + errors[1, n] for n, _ in timed), default=0)) or 100
        heights = _spread([values[n] for n, _ in timed], high / 16)
        for (n, seconds), height in zip(timed, heights, strict=True):
            color, at = bars[n].color, (seconds, values[n])
            cost.errorbar(*at, yerr=errors[:, [n]], color=color, fmt="o", capsize=2)
            line = {"arrowstyle": "-", "color": color, "linewidth": 0.5, "relpos": (0, 0.5)}
            place = seconds + 0.05 * wide, height
            cost.annotate(bars[n].label, at, place, va="center", arrowprops=line)
        cost.set(xlabel="CPU seconds a picture", ylabel=f"{name}, %", xlim=(0, wide), ylim=(0, high))


def draw_lines(lines: Sequence[Line], name: str, target: Path) -> None:
    """The rates and the distances against the strength, with their intervals."""
    with _figure(target) as (left, right):
        for line in lines:
            for axes, estimates, scale in ((left, line.rates, 100), (right, line.distances, 1)):
                values = [scale * one.value for one in estimates]
                errors = _errors(estimates, scale)
                axes.errorbar(line.strengths, values, yerr=errors, fmt="o-", capsize=2, label=line.label)
        left.set(xlabel="strength", ylabel=f"{name}, %", ylim=(0, 100))
        right.set(xlabel="strength", ylabel="distance from real renders")
        left.legend()


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """Heights for names near their values, at least a gap apart."""
    heights = list(values)
    last = 0.0
    for n in np.argsort(values, kind="stable"):
        last = heights[n] = max(values[n], last + gap)
    return heights


@contextmanager
def _figure(target: Path) -> Iterator[Any]:
    """Two axes side by side, written to `target` at the end."""
    with mpl.rc_context({"svg.hashsalt": "results", "font.size": 8}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        yield figure.subplots(1, 2)
        figure.savefig(target, metadata={"Date": None})


def _errors(estimates: Sequence[Estimate], scale: float) -> Any:
    """Below and above the values, (2, n); nothing where there is no interval.

    A bootstrap of few pictures may leave the value itself outside its interval.
    """
    found = [(one.value - one.low, one.high - one.value) for one in estimates]
    return np.nan_to_num(scale * np.array(found)).clip(0).T
