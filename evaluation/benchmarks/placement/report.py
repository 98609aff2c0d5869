"""Results as tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....generation.methods import NOT_SAMPLED
from ....generation.placing_methods import METHODS, TRAINING_FREE
from ....shapes_world import PATTERNS, SHAPES
from ...plots import Bar, draw_bars
from ...records import Evaluation, Record
from ...scorers.placement import ATTRIBUTES
from ...statistics import (
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
from ...tables import (
    BOOTSTRAP,
    by_count,
    by_word,
    percent,
    plain,
    seconds,
    settings,
    table,
)
from .plan import Plan


class Row(NamedTuple):
    """One method's results; `success` holds every resampling, for ratios."""

    method: str
    success: Floats
    estimates: dict[str, Estimate]
    attributes: dict[str, float]
    seconds: float | None


def write_report(evaluation: Evaluation[Plan], methods: Sequence[str], target: Path) -> int:
    """Write a Markdown table to `target` and a plot beside it, ending .svg; returns the number of layouts.

    Only layouts that every method has been run on are counted.
    """
    groups = evaluation.complete(methods)
    count = len(groups[methods[0]])
    reference = evaluation.reference(count)
    weights = resamplings(count, BOOTSTRAP)
    rows = [_row(method, groups[method], weights, reference) for method in methods]
    numbers = [record["number"] for record in groups[methods[0]]]
    looks = {number: evaluation.plan.looks(number) for number in numbers}
    plot = target.with_suffix(".svg")
    target.parent.mkdir(parents=True, exist_ok=True)
    bars = [Bar(METHODS[r.method].label, _color(r.method), r.estimates["success"], r.seconds) for r in rows]
    draw_bars(bars, "IFS rate", plot)
    parts = [
        settings(evaluation.plan, groups[methods[0]], "layouts"),
        _main_table(rows),
        f"![Success and cost]({plot.name})",
        _claims(rows),
        _attribute_table(rows),
        f"IFS rate by the number of things, in per cent:\n\n{by_count(groups, METHODS, success_rate)}",
        "IFS rate by pattern and by shape, in per cent:\n\n"
        + by_word(groups, METHODS, (*PATTERNS, *SHAPES), looks, success_rate),
    ]
    target.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return count


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
            "precision": interval(average_precision(records, weights[: BOOTSTRAP // 4])),
            "bound": interval(attribute_rate(records, weights)),
            "distance": kernel_distance(features, reference),
        },
        {name: float(attribute_rate(records, weights[:1], name)[0]) for name in ATTRIBUTES},
        seconds(records),
    )


def _main_table(rows: Sequence[Row]) -> str:
    header = ("method", "IFS rate", "located", "spatial AP", "attributes of located", "distance", "seconds")
    body: list[Sequence[str]] = [
        (
            METHODS[row.method].label,
            *(percent(row.estimates[name]) for name in ("success", "located", "precision", "bound")),
            plain(row.estimates["distance"]),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
        for row in rows
    ]
    return table(header, body)


def _attribute_table(rows: Sequence[Row]) -> str:
    body = [
        (METHODS[r.method].label, *(f"{100 * r.attributes[name]:.1f}" for name in ATTRIBUTES)) for r in rows
    ]
    return "Right among the located, in per cent:\n\n" + table(("method", "shape", "colour", "pattern"), body)


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
        name = METHODS[best.method].label
        lines.append(f"- over that of the best method without training, {name}: {_ratio(ours, best)}")
        lines.append(
            f"- its CPU seconds over those of {name}: {(ours.seconds or 0) / (best.seconds or 1):.2f}"
        )
    return "\n".join(lines)


def _ratio(ours: Row, other: Row) -> str:
    with np.errstate(divide="ignore", invalid="ignore"):
        return plain(interval(ours.success / other.success), 2)


def _color(method: str) -> str:
    if method in NOT_SAMPLED:
        return "#8a8a8a"
    return "#2f6fb5" if method == "ifadapter" else "#9cc0e4" if method.startswith("no-") else "#d08c3c"
