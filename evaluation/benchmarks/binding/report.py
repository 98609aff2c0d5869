"""Results of an evaluation of binding as tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....generation.binding_methods import BASELINES, METHODS, WITH_BOXES
from ....generation.methods import NOT_SAMPLED
from ...plots import (
    Bar,
    Line,
    draw_bars,
    draw_lines,
)
from ...records import Evaluation, Record
from ...statistics import (
    Estimate,
    Floats,
    binding_rate,
    extra_things,
    interval,
    kernel_distance,
    located_rate,
    missing_rate,
    present_rate,
    resamplings,
    success_rate,
)
from ...tables import (
    BOOTSTRAP,
    by_count,
    percent,
    plain,
    seconds,
    settings,
    table,
)
from .plan import BindingPlan, Sweep

# What cannot tell places: rows of the table without boxes, and of the one with boxes for comparison.
_COMMON = (*NOT_SAMPLED, "plain")


class Row(NamedTuple):
    """One method's results; `binding` holds every resampling, for differences."""

    method: str
    binding: Floats
    estimates: dict[str, Estimate]
    seconds: float | None


def write_binding_report(
    evaluation: Evaluation[BindingPlan], methods: Sequence[str], sweeps: Sequence[Sweep], target: Path
) -> int:
    """Write a Markdown table to `target` and plots beside it, ending .svg; returns the number of prompts.

    Only prompts that every method has been run on are counted; for the sweeps those that every point has been
    run on.
    """
    groups = evaluation.complete(methods)
    rows = _rows(evaluation, groups)
    plot = target.with_suffix(".svg")
    target.parent.mkdir(parents=True, exist_ok=True)
    bars = [Bar(METHODS[r.method].label, _color(r.method), r.estimates["binding"], r.seconds) for r in rows]
    draw_bars(bars, "binding accuracy", plot)
    some = next(iter(groups.values()))
    parts = [
        settings(evaluation.plan, some, "prompts"),
        _guidance(evaluation.plan),
        _without_boxes(rows),
        _with_boxes(rows),
        f"![Binding accuracy and cost]({plot.name})",
        _differences(rows),
        "Binding accuracy by the number of things, in per cent:\n\n"
        + by_count(groups, METHODS, binding_rate),
        _sweep_part(evaluation, sweeps, target) if sweeps else "",
    ]
    target.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return len(some)


def _rows(evaluation: Evaluation[BindingPlan], groups: dict[str, list[Record]]) -> list[Row]:
    count = len(next(iter(groups.values())))
    weights, reference = resamplings(count, BOOTSTRAP), evaluation.reference(count)
    return [_row(method, records, weights, reference) for method, records in groups.items()]


def _row(method: str, records: Sequence[Record], weights: Floats, reference: Floats) -> Row:
    binding = binding_rate(records, weights)
    features = np.array([record["features"] for record in records])
    return Row(
        method,
        binding,
        {
            "binding": interval(binding),
            "missing": interval(missing_rate(records, weights)),
            "swapped": interval(present_rate(records, weights, "swapped")),
            "color": interval(present_rate(records, weights, "color")),
            "pattern": interval(present_rate(records, weights, "pattern")),
            "extra": interval(extra_things(records, weights)),
            "located": interval(located_rate(records, weights)),
            "success": interval(success_rate(records, weights)),
            "distance": kernel_distance(features, reference),
        },
        seconds(records),
    )


def _guidance(plan: BindingPlan) -> str:
    return (
        f"Guided methods: strength {plan.strength:g}, token weight {plan.token_weight:g}, pixel weight "
        f"{plan.pixel_weight:g}, from {plan.start:g} to {plan.end:g} of the run, layers: {plan.layers}. "
        "Entities are the prompt's exact ones, by the grammar of its captions."
    )


def _without_boxes(rows: Sequence[Row]) -> str:
    chosen = [row for row in rows if row.method not in WITH_BOXES]
    return f"Without boxes:\n\n{_main_table(chosen, placed=False)}" if chosen else ""


def _with_boxes(rows: Sequence[Row]) -> str:
    """Those that are told where things belong, and what comes about without."""
    if not any(row.method in WITH_BOXES for row in rows):
        return ""
    chosen = [row for row in rows if row.method in (*_COMMON, *WITH_BOXES)]
    return f"With boxes:\n\n{_main_table(chosen, placed=True)}"


def _main_table(rows: Sequence[Row], placed: bool) -> str:
    shares = {
        "binding accuracy": "binding",
        "missing": "missing",
        "swapped": "swapped",
        "colour right": "color",
        "pattern right": "pattern",
    }
    if placed:
        shares |= {"located": "located", "IFS rate": "success"}
    body: list[Sequence[str]] = [
        (
            METHODS[row.method].label,
            *(percent(row.estimates[name]) for name in shares.values()),
            plain(row.estimates["extra"], 2),
            plain(row.estimates["distance"]),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
        for row in rows
    ]
    return table(("method", *shares, "extra things", "distance", "seconds"), body)


def _differences(rows: Sequence[Row]) -> str:
    """What each guided method changes, on the same prompts and noise; and local against latent."""
    known = {row.method: row for row in rows}
    pairs = [*BASELINES.items(), ("latent", "local"), ("latent-boxes", "local-boxes")]
    body = [
        (
            METHODS[method].label,
            METHODS[other].label,
            percent(interval(known[method].binding - known[other].binding)),
            f"{(known[method].seconds or 0) / (known[other].seconds or 1):.2f}",
        )
        for method, other in pairs
        if method in known and other in known
    ]
    if not body:
        return ""
    header = ("method", "against", "binding accuracy, difference in points", "seconds, ratio")
    return "The same prompts and noise, one method less the other:\n\n" + table(header, body)


def _sweep_part(evaluation: Evaluation[BindingPlan], sweeps: Sequence[Sweep], target: Path) -> str:
    names = list(dict.fromkeys(name for sweep in sweeps for name in sweep.names(evaluation.plan)))
    groups = evaluation.complete(names)
    found = {row.method: row for row in _rows(evaluation, groups)}
    plot = target.with_name(f"{target.stem}-strength.svg")
    lines: list[Line] = []
    body: list[Sequence[str]] = []
    for sweep in sweeps:
        points = [found[name].estimates for name in sweep.names(evaluation.plan)]
        label = f"{METHODS[sweep.method].label}, {sweep.weights[0]:g} : {sweep.weights[1]:g}"
        rates, distances = ([point[name] for point in points] for name in ("binding", "distance"))
        lines.append(Line(label, sweep.strengths, rates, distances))
        for strength, point in zip(sweep.strengths, points, strict=True):
            shares = (percent(point[name]) for name in ("binding", "missing", "swapped"))
            body.append((label, f"{strength:g}", *shares, plain(point["distance"])))
    draw_lines(lines, "binding accuracy", plot)
    header = (
        "method, token : pixel weight",
        "strength",
        "binding accuracy",
        "missing",
        "swapped",
        "distance",
    )
    return (
        f"By strength, {len(groups[names[0]])} prompts:\n\n{table(header, body)}\n\n"
        f"![Binding accuracy and distance by strength]({plot.name})"
    )


def _color(method: str) -> str:
    if method in NOT_SAMPLED:
        return "#8a8a8a"
    if method == "plain":
        return "#b5b5b5"
    return "#2f6fb5" if method in WITH_BOXES else "#d08c3c"
