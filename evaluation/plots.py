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
        for bar, value, error in zip(bars, values, errors.T, strict=True):
            if bar.seconds is not None:
                style = {"color": bar.color, "fmt": "o", "capsize": 2}
                cost.errorbar(bar.seconds, value, yerr=error[:, None], **style)
                cost.annotate(bar.label, (bar.seconds, value), (4, 4), textcoords="offset points")
        # Room for the names to the right of the dearest.
        dearest = max((bar.seconds or 0 for bar in bars), default=0)
        cost.set(
            xlabel="CPU seconds a picture", ylabel=f"{name}, %", xlim=(0, 1.6 * dearest or 1), ylim=(0, 100)
        )


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
