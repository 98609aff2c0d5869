"""Rows of results: rates of each method with their intervals, its distance and seconds; tables and bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..generation.methods import NOT_SAMPLED, Method
from .benchmark import Point, Record
from .plots import Bar, draw_bars
from .statistics import (
    Estimate,
    Floats,
    interval,
    kernel_distance,
    resamplings,
)
from .tables import percent, plain, table

BOOTSTRAP = 2000

Groups = Mapping[Point, Sequence[Record]]
# A rate of records for each row of weights, see `statistics.resamplings`.
Rate = Callable[[Sequence[Record], Floats], Floats]


class Row(NamedTuple):
    """Results of one point; `resampled` holds every resampling of each rate, for differences and ratios.

    `seconds` are of CPU time a picture, None for what was not sampled.
    """

    point: Point
    label: str
    resampled: Mapping[str, Floats]
    estimates: Mapping[str, Estimate]
    distance: Estimate
    seconds: float | None


def make_rows(
    groups: Groups, methods: Mapping[str, Method], rates: Mapping[str, Rate], reference: Floats
) -> list[Row]:
    """A row for each point; its records are of the same numbers as those of all others.

    reference (n, d): features of the real pictures that distances are measured from.
    """
    weights = resamplings(len(next(iter(groups.values()))), BOOTSTRAP)
    rows: list[Row] = []
    for point, records in groups.items():
        resampled = {name: rate(records, weights) for name, rate in rates.items()}
        features = np.array([record["features"] for record in records])
        rows.append(
            Row(
                point,
                label_of(point, methods),
                resampled,
                {name: interval(values) for name, values in resampled.items()},
                kernel_distance(features, reference),
                _seconds(records),
            )
        )
    return rows


def label_of(point: Point, methods: Mapping[str, Method]) -> str:
    """What a row is called: its method, and its LoRA if it has one."""
    label = methods[point.method].label
    return f"{label} ({lora_name(point)})" if point.lora else label


def lora_name(point: Point) -> str:
    """The name that the LoRA of a point was given."""
    return point.lora.partition(" ")[0]


def by_method(rows: Sequence[Row]) -> dict[str, Row]:
    """The rows by the names of their methods."""
    return {row.point.method: row for row in rows}


def main_table(
    rows: Sequence[Row], shares: Mapping[str, str], numbers: Mapping[str, str] | None = None
) -> str:
    """A table of rates, distance and seconds.

    `shares` are the names of rates in per cent by the header of their column, `numbers` those of others.
    """
    numbers = numbers or {}
    body: list[Sequence[str]] = [
        (
            row.label,
            *(percent(row.estimates[name]) for name in shares.values()),
            *(plain(row.estimates[name], 2) for name in numbers.values()),
            plain(row.distance),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
        for row in rows
    ]
    return table(("method", *shares, *numbers, "distance", "seconds"), body)


def seconds_ratio(row: Row, other: Row) -> str:
    """CPU seconds of one over those of another."""
    return f"{(row.seconds or 0) / (other.seconds or 1):.2f}"


def draw_rates(rows: Sequence[Row], rate: str, name: str, color: Callable[[str], str], target: Path) -> None:
    """Draw bars of a rate, and the rate against cost; `name` is that of the rate."""
    bars = [
        Bar(
            row.label,
            "#8a8a8a" if row.point.method in NOT_SAMPLED else color(row.point.method),
            row.estimates[rate],
            row.seconds,
        )
        for row in rows
    ]
    draw_bars(bars, name, target)


def by_count(groups: Groups, methods: Mapping[str, Method], rate: Rate) -> str:
    """A table of a rate by the number of things in the picture, in per cent."""
    counts = sorted({record["things"] for records in groups.values() for record in records})
    body: list[Sequence[str]] = []
    for point, records in groups.items():
        some = ([record for record in records if record["things"] == count] for count in counts)
        body.append((label_of(point, methods), *(rate_of_all(each, rate) for each in some)))
    return table(("method", *(f"{count} things" for count in counts)), body)


def rate_of_all(records: Sequence[Record], rate: Rate) -> str:
    """A rate of these records themselves, in per cent; a dash where it is one of nothing."""
    value = rate(records, np.ones((1, len(records))))[0]
    return percent(Estimate(float(value), math.nan, math.nan))


def _seconds(records: Sequence[Record]) -> float | None:
    taken = [record["seconds"] for record in records]
    return None if None in taken else float(np.mean([one["cpu"] for one in taken]))
