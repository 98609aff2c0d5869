"""Report of an evaluation of binding as tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ....generation.binding_methods import BASELINES, METHODS, WITH_BOXES, WITH_LORA
from ....generation.methods import NOT_SAMPLED
from ...benchmark import Point
from ...plots import Line, draw_lines
from ...records import Evaluation
from ...rows import (
    Rate,
    Row,
    by_count,
    draw_rates,
    label_of,
    main_table,
    make_rows,
    seconds_ratio,
)
from ...statistics import (
    Floats,
    binding_rate,
    extra_things,
    interval,
    located_rate,
    missing_rate,
    present_rate,
    success_rate,
)
from ...tables import percent, plain, table, write_parts
from .plan import BindingPlan, Guidance, Lora

# What cannot tell places: rows of the table without boxes, and of the one with boxes for comparison.
_COMMON = (*NOT_SAMPLED, "plain", "lora")

_RATES: Mapping[str, Rate] = {
    "binding": binding_rate,
    "missing": missing_rate,
    "swapped": partial(present_rate, name="swapped"),
    "color": partial(present_rate, name="color"),
    "pattern": partial(present_rate, name="pattern"),
    "extra": extra_things,
    "located": located_rate,
    "success": success_rate,
}
_COLUMNS = {
    "binding accuracy": "binding",
    "missing": "missing",
    "swapped": "swapped",
    "colour right": "color",
    "pattern right": "pattern",
}
_PLACED_COLUMNS = {**_COLUMNS, "located": "located", "IFS rate": "success"}
_SWEPT_COLUMNS = ("binding", "missing", "swapped")

Reference = Callable[[int], Floats]


def write_report(evaluation: Evaluation[BindingPlan], reference: Reference, target: Path) -> int:
    """Write Markdown tables to `target` and plots beside it, ending .svg; returns the number of prompts.

    Only prompts that every method has been run on are counted; for the sweeps those that every point has been
    run on. `reference(n)` are features (n, d) of real pictures.
    """
    plan = evaluation.plan
    groups = evaluation.complete(plan.compared())
    records = next(iter(groups.values()))
    rows = make_rows(groups, METHODS, _RATES, reference(len(records)))
    plot = target.with_suffix(".svg")
    target.parent.mkdir(parents=True, exist_ok=True)
    draw_rates(rows, "binding", "binding accuracy", _color, plot)
    parts = [
        plan.describe(records, "prompts"),
        _guidance(plan.guidance),
        _loras(plan.loras),
        _without_boxes(rows),
        _with_boxes(rows),
        f"![Binding accuracy and cost]({plot.name})",
        _differences(rows),
        "Binding accuracy by the number of things, in per cent:\n\n"
        + by_count(groups, METHODS, binding_rate),
        _sweep_part(evaluation, reference, target) if plan.sweeps else "",
    ]
    write_parts(parts, target)
    return len(records)


def _guidance(guidance: Guidance) -> str:
    return (
        f"Guided methods: strength {guidance.strength:g}, token weight {guidance.token_weight:g}, "
        f"pixel weight {guidance.pixel_weight:g}, from {guidance.start:g} to {guidance.end:g} of the run, "
        f"layers: {guidance.layers}. Entities are the prompt's exact ones, by the grammar of its captions."
    )


def _loras(loras: Sequence[Lora]) -> str:
    """The files, so that others can tell whether theirs is the same."""
    lines = []
    for lora in loras:
        name, digest, strength = lora.identity.split()
        lines.append(f"- LoRA {name}: {lora.file.name} {digest} at {strength}")
    return "\n".join(lines)


def _without_boxes(rows: Sequence[Row]) -> str:
    chosen = [row for row in rows if row.point.method not in WITH_BOXES]
    return f"Without boxes:\n\n{_table(chosen, _COLUMNS)}" if chosen else ""


def _with_boxes(rows: Sequence[Row]) -> str:
    """Those that know where things belong, and what comes about without."""
    if not any(row.point.method in WITH_BOXES for row in rows):
        return ""
    chosen = [row for row in rows if row.point.method in (*_COMMON, *WITH_BOXES)]
    return f"With boxes:\n\n{_table(chosen, _PLACED_COLUMNS)}"


def _table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    return main_table(rows, columns, {"extra things": "extra"})


def _differences(rows: Sequence[Row]) -> str:
    """Guided methods less their baselines, those with a LoRA less the same without, latent less local, and
    other LoRAs less the first.
    """
    known = {(row.point.method, row.point.lora): row for row in rows}
    body: list[Sequence[str]] = []
    for row, other in _pairs(known):
        difference = interval(row.resampled["binding"] - other.resampled["binding"])
        body.append((row.label, other.label, percent(difference), seconds_ratio(row, other)))
    if not body:
        return ""
    header = ("method", "against", "binding accuracy, difference in points", "seconds, ratio")
    return "The same prompts and noise, one method less the other:\n\n" + table(header, body)


def _pairs(known: Mapping[tuple[str, str], Row]) -> list[tuple[Row, Row]]:
    """Rows by method and LoRA, each with the one it is compared to."""
    pairs: list[tuple[Row, Row]] = []
    others = {
        "lora": "plain",
        "lora+local": "local",
        "lora+local-boxes": "local-boxes",
        "latent": "local",
        "latent-boxes": "local-boxes",
    }
    for method, other in (*BASELINES.items(), *others.items()):
        for (name, lora), row in known.items():
            if name == method and (against := known.get((other, lora if METHODS[other].lora else ""))):
                pairs.append((row, against))
    for method in WITH_LORA:
        drawn = [row for (name, _), row in known.items() if name == method]
        pairs += [(row, drawn[0]) for row in drawn[1:]]
    return pairs


def _sweep_part(evaluation: Evaluation[BindingPlan], reference: Reference, target: Path) -> str:
    plan = evaluation.plan
    points = {sweep: sweep.points(plan.guidance) for sweep in plan.sweeps}
    groups = evaluation.complete(list(dict.fromkeys(point for some in points.values() for point in some)))
    count = len(next(iter(groups.values())))
    found = {row.point: row for row in make_rows(groups, METHODS, _RATES, reference(count))}
    lines: list[Line] = []
    body: list[Sequence[str]] = []
    for sweep, some in points.items():
        rows = [found[point] for point in some]
        method = label_of(Point(sweep.method, lora=sweep.lora), METHODS)
        label = f"{method}, {sweep.weights[0]:g} : {sweep.weights[1]:g}"
        rates, distances = [row.estimates["binding"] for row in rows], [row.distance for row in rows]
        lines.append(Line(label, sweep.strengths, rates, distances))
        for strength, row in zip(sweep.strengths, rows, strict=True):
            shares = (percent(row.estimates[name]) for name in _SWEPT_COLUMNS)
            body.append((label, f"{strength:g}", *shares, plain(row.distance)))
    plot = target.with_name(f"{target.stem}-strength.svg")
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
        f"By strength, {count} prompts:\n\n{table(header, body)}\n\n"
        f"![Binding accuracy and distance by strength]({plot.name})"
    )


def _color(method: str) -> str:
    if method == "plain":
        return "#b5b5b5"
    return "#2f6fb5" if method in WITH_BOXES else "#d08c3c"
