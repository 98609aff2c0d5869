"""Results as tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from .plan import METHODS, NOT_SAMPLED, TRAINING_FREE
from .runs import Evaluation, Record
from .scoring import ATTRIBUTES
from .statistics import (
    Estimate,
    Floats,
    attribute_rate,
    average_precision,
    interval,
    kernel_distance,
    located_rate,
    resamplings,
    success_rate,
)

_BOOTSTRAP = 2000


class Row(NamedTuple):
    """One method's results; `success` holds every resampling, for ratios."""

    method: str
    success: Floats
    estimates: dict[str, Estimate]
    attributes: dict[str, float]
    seconds: float | None


def write_report(evaluation: Evaluation, methods: Sequence[str], target: Path) -> int:
    """Write a Markdown table to `target` and a plot beside it, ending .svg; returns the number of layouts.

    Only layouts that every method has been run on are counted.
    """
    records = evaluation.records
    numbers = sorted(set.intersection(*({n for m, n in records if m == method} for method in methods)))
    if len(numbers) < 3:
        raise ValueError(
            f"{len(numbers)} layouts have been run with all of {', '.join(methods)}; 3 are needed"
        )
    groups = {method: [records[method, number] for number in numbers] for method in methods}
    reference = evaluation.reference(len(numbers))
    weights = resamplings(len(numbers), _BOOTSTRAP)
    rows = [_row(method, groups[method], weights, reference) for method in methods]
    plot = target.with_suffix(".svg")
    target.parent.mkdir(parents=True, exist_ok=True)
    draw(rows, plot)
    parts = [
        _settings(evaluation, len(numbers), groups[methods[0]]),
        _main_table(rows),
        f"![Success and cost]({plot.name})",
        _claims(rows),
        _attribute_table(rows),
        _count_table(groups),
    ]
    target.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return len(numbers)


def _row(method: str, records: Sequence[Record], weights: Floats, reference: Floats) -> Row:
    success = success_rate(records, weights)
    features = np.array([record["features"] for record in records])
    return Row(
        method,
        success,
        {
            "success": interval(success),
            "located": interval(located_rate(records, weights)),
            # Sorting every resampling ten times over is the dearest part of a report.
            "precision": interval(average_precision(records, weights[: _BOOTSTRAP // 4])),
            "bound": interval(attribute_rate(records, weights)),
            "distance": kernel_distance(features, reference),
        },
        {name: float(attribute_rate(records, weights[:1], name)[0]) for name in ATTRIBUTES},
        None if method in NOT_SAMPLED else float(np.mean([record["seconds"]["cpu"] for record in records])),
    )


def _settings(evaluation: Evaluation, count: int, records: Sequence[Record]) -> str:
    plan = evaluation.plan
    things = sum(record["things"] for record in records)
    return (
        f"{count} layouts of {plan.split} looks, {min(plan.figures)} to {max(plan.figures)} things each, "
        f"{things} in all; {plan.size[0]} × {plan.size[1]} pixels, {plan.steps} steps of {plan.sampler} "
        f"({plan.scheduler}), guidance {plan.cfg:g}, one picture a layout, the same noise for every method. "
        "Brackets are 95 % intervals."
    )


def _main_table(rows: Sequence[Row]) -> str:
    header = ("method", "IFS rate", "located", "spatial AP", "attributes of located", "distance", "seconds")
    body: list[Sequence[str]] = [
        (
            METHODS[row.method],
            *(_percent(row.estimates[name]) for name in ("success", "located", "precision", "bound")),
            _plain(row.estimates["distance"]),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
        for row in rows
    ]
    return _table(header, body)


def _attribute_table(rows: Sequence[Row]) -> str:
    body = [(METHODS[r.method], *(f"{100 * r.attributes[name]:.1f}" for name in ATTRIBUTES)) for r in rows]
    return "Right among the located, in per cent:\n\n" + _table(
        ("method", "shape", "colour", "pattern"), body
    )


def _count_table(groups: Mapping[str, Sequence[Record]]) -> str:
    first = next(iter(groups.values()))
    counts = sorted({record["things"] for record in first})
    body: list[Sequence[str]] = []
    for method, records in groups.items():
        cells: list[str] = []
        for count in counts:
            some = [record for record in records if record["things"] == count]
            cells.append(f"{100 * success_rate(some, np.ones((1, len(some))))[0]:.1f}")
        body.append((METHODS[method], *cells))
    return "IFS rate by the number of things, in per cent:\n\n" + _table(
        ("method", *(f"{count} things" for count in counts)), body
    )


def _claims(rows: Sequence[Row]) -> str:
    """IFAdapter against the real renders and the best method without training, both with their intervals."""
    known = {row.method: row for row in rows}
    ours = known.get("ifadapter")
    if ours is None:
        return ""
    lines: list[str] = []
    if real := known.get("real"):
        lines.append(f"- IFAdapter's IFS rate over that of real renders: {_ratio(ours, real)}")
    others = [known[method] for method in TRAINING_FREE if method in known]
    if others:
        best = max(others, key=lambda row: row.estimates["success"].value)
        name = METHODS[best.method]
        lines.append(f"- over that of the best method without training, {name}: {_ratio(ours, best)}")
        lines.append(
            f"- its CPU seconds over those of {name}: {(ours.seconds or 0) / (best.seconds or 1):.2f}"
        )
    return "\n".join(lines)


def _ratio(ours: Row, other: Row) -> str:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _plain(interval(ours.success / other.success), 2)


def draw(rows: Sequence[Row], target: Path) -> None:
    """IFS rates with their intervals, and against CPU time, as SVG; the same file for the same numbers."""
    with mpl.rc_context({"svg.hashsalt": "results", "font.size": 8}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        bars, cost = figure.subplots(1, 2)
        values = [100 * row.estimates["success"].value for row in rows]
        errors = np.array([_error(row.estimates["success"]) for row in rows]).T
        places = np.arange(len(rows))[::-1]
        bars.barh(places, values, xerr=errors, color=[_color(row.method) for row in rows], capsize=2)
        bars.set_yticks(places, [METHODS[row.method] for row in rows])
        bars.set(xlabel="IFS rate, %", xlim=(0, 100))
        for row, value, error in zip(rows, values, errors.T, strict=True):
            if row.seconds is not None:
                style = {"color": _color(row.method), "fmt": "o", "capsize": 2}
                cost.errorbar(row.seconds, value, yerr=error[:, None], **style)
                cost.annotate(METHODS[row.method], (row.seconds, value), (4, 4), textcoords="offset points")
        # Room for the names to the right of the dearest.
        dearest = max((row.seconds or 0 for row in rows), default=0)
        cost.set(
            xlabel="CPU seconds a picture", ylabel="IFS rate, %", xlim=(0, 1.6 * dearest or 1), ylim=(0, 100)
        )
        figure.savefig(target, metadata={"Date": None})


def _error(estimate: Estimate) -> tuple[float, float]:
    return 100 * (estimate.value - estimate.low), 100 * (estimate.high - estimate.value)


def _color(method: str) -> str:
    if method in NOT_SAMPLED:
        return "#8a8a8a"
    return "#2f6fb5" if method == "ifadapter" else "#9cc0e4" if method.startswith("no-") else "#d08c3c"


def _percent(estimate: Estimate) -> str:
    return _plain(Estimate(*(100 * one for one in estimate)), 1)


def _plain(estimate: Estimate, digits: int = 3) -> str:
    """A value with its interval, a dash where there is none: a share of nothing."""
    if not np.isfinite(estimate.value):
        return "–"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def _table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
