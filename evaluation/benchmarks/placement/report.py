"""Report of an evaluation of placement as tables and a plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ....generation.placing_methods import METHODS, TRAINING_FREE
from ....shapes_world import PATTERNS, SHAPES, Look
from ...benchmark import Point, Record
from ...records import Evaluation
from ...rows import (
    BOOTSTRAP,
    Groups,
    Rate,
    Row,
    by_count,
    by_method,
    draw_rates,
    main_table,
    make_rows,
    rate_of_all,
    seconds_ratio,
)
from ...scorers.placement import ATTRIBUTES
from ...statistics import (
    Floats,
    attribute_rate,
    average_precision,
    interval,
    located_rate,
    resamplings,
    success_rate,
)
from ...tables import percent, plain, table, write_parts
from .naming import NAMINGS, SETTING
from .plan import PlacementPlan

_RATES: Mapping[str, Rate] = {
    "success": success_rate,
    "located": located_rate,
    # Sorting every resampling ten times over is the dearest part of a report.
    "precision": lambda records, weights: average_precision(records, weights[: BOOTSTRAP // 4]),
    "bound": attribute_rate,
}
_COLUMNS = {
    "IFS rate": "success",
    "located": "located",
    "spatial AP": "precision",
    "attributes of located": "bound",
}


def write_report(
    evaluation: Evaluation[PlacementPlan], reference: Callable[[int], Floats], target: Path
) -> int:
    """Write Markdown tables to `target` and a plot beside it, ending .svg; returns the number of layouts.

    Only layouts that every method has been run on are counted. `reference(n)` are features (n, d) of real
    pictures.
    """
    everything = evaluation.complete(evaluation.plan.points())
    groups = {point: records for point, records in everything.items() if not point.settings}
    records = next(iter(groups.values()))
    rows = make_rows(groups, METHODS, _RATES, reference(len(records)))
    looks = {record["number"]: evaluation.plan.scenes.looks(record["number"]) for record in records}
    plot = target.with_suffix(".svg")
    target.parent.mkdir(parents=True, exist_ok=True)
    draw_rates(rows, "success", "IFS rate", _color, plot)
    parts = [
        evaluation.plan.describe(records, "layouts"),
        main_table(rows, _COLUMNS),
        f"![Success and cost]({plot.name})",
        _claims(rows),
        naming_table(everything, evaluation.plan.left_out),
        _attribute_table(groups),
        f"IFS rate by the number of things, in per cent:\n\n{by_count(groups, METHODS, success_rate)}",
        f"IFS rate by pattern and by shape, in per cent:\n\n{success_by_word(groups, looks)}",
    ]
    write_parts(parts, target)
    return len(records)


def naming_table(groups: Groups, left_out: Callable[[int], int]) -> str:
    """A table of the IFS rate by what the prompt names, empty where that was not measured.

    `left_out(number)` is the index of the thing that a picture's prompt may leave out; it has a column of
    its own, in every row of the same things.
    """
    varied = {point.method for point in groups if point.settings}
    if not varied:
        return ""
    rows: list[Sequence[str]] = []
    for point, records in sorted(groups.items(), key=lambda item: dict(item[0].settings).get(SETTING, 0.0)):
        if point.method not in varied:
            continue
        weights = resamplings(len(records), BOOTSTRAP)
        naming = list(NAMINGS.values())[int(dict(point.settings).get(SETTING, 0.0))]
        one, others = _parted(records, left_out)
        cells = (percent(interval(success_rate(some, weights))) for some in (records, one, others))
        rows.append((_label(point), naming, *cells))
    header = ("method", "the prompt names", "all things", "the one in question", "the others")
    return "IFS rate by what the prompt names, in per cent:\n\n" + table(header, rows)


def _parted(records: Sequence[Record], left_out: Callable[[int], int]) -> tuple[list[Record], list[Record]]:
    """The records with the thing in question alone, and with the others alone."""
    one: list[Record] = []
    others: list[Record] = []
    for record in records:
        things, place = record["instances"], left_out(record["number"])
        one.append({**record, "instances": [things[place]]})
        others.append({**record, "instances": [*things[:place], *things[place + 1 :]]})
    return one, others


def success_by_word(
    groups: Groups, looks: Mapping[int, Sequence[Look]], words: Sequence[str] = (*PATTERNS, *SHAPES)
) -> str:
    """A table of the IFS rate among the things with each of these words; `looks` by scene number."""
    body = [(_label(point), *_by_word(records, looks, words)) for point, records in groups.items()]
    return table(("method", *words), body)


def _by_word(
    records: Sequence[Record], looks: Mapping[int, Sequence[Look]], words: Sequence[str]
) -> list[str]:
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
        cells.append(rate_of_all(some, success_rate))
    return cells


def _attribute_table(groups: Groups) -> str:
    body = [
        (_label(point), *(rate_of_all(records, _attribute(name)) for name in ATTRIBUTES))
        for point, records in groups.items()
    ]
    return "Right among the located, in per cent:\n\n" + table(("method", "shape", "colour", "pattern"), body)


def _attribute(name: str) -> Rate:
    return lambda records, weights: attribute_rate(records, weights, name)


def _label(point: Point) -> str:
    return METHODS[point.method].label


def _claims(rows: Sequence[Row]) -> str:
    """IFAdapter against the real renders and the best method without training, both with their intervals."""
    known = by_method(rows)
    ours = known.get("ifadapter")
    if ours is None:
        return ""
    lines: list[str] = []
    if real := known.get("real"):
        lines.append(f"- IFAdapter's IFS rate over that of real renders: {_ratio(ours, real)}")
    others = [known[method] for method in TRAINING_FREE if method in known]
    if others:
        best = max(others, key=lambda row: row.estimates["success"].value)
        ratio = _ratio(ours, best)
        lines.append(f"- over that of the best method without training, {best.label}: {ratio}")
        lines.append(f"- its CPU seconds over those of {best.label}: {seconds_ratio(ours, best)}")
    return "\n".join(lines)


def _ratio(ours: Row, other: Row) -> str:
    with np.errstate(divide="ignore", invalid="ignore"):
        return plain(interval(ours.resampled["success"] / other.resampled["success"]), 2)


def _color(method: str) -> str:
    return "#2f6fb5" if method == "ifadapter" else "#9cc0e4" if method.startswith("no-") else "#d08c3c"
