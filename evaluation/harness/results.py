"""Results: findings to the benchmark's measures, with intervals by bootstrap over prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..scorers.models import Models
from ..statistics import Estimate, Floats, average_precision, interval, resamplings
from .cases import Case
from .distances import FID, KID, Distances, distances
from .drawing import SECONDS
from .measuring import Stage, found_of
from .run_folder import Found, RunFolder

BOOTSTRAP = 2000
AVERAGE_PRECISION = "AP"


class Scored(NamedTuple):
    """A picture's part of each measure: (sum, number) of what is averaged over all pictures.

    `queries` are what average precision is measured on, see `statistics.average_precision`.
    """

    parts: Mapping[str, tuple[float, float]]
    queries: Sequence[Mapping[str, Any]] = ()


class Column(NamedTuple):
    """A measure in the table: its name, its header, and whether it is a share shown in per cent.

    `in_world` is the header where the judge of Shapes World measures something else in a model's place.
    """

    measure: str
    header: str
    percent: bool = False
    in_world: str = ""


class Quoted(NamedTuple):
    """A published row: a system, its values by measure as they are published, and where they stand.

    With a `group` it is a row of that part of the benchmark, and shown beside cases of that part alone.
    """

    label: str
    values: Mapping[str, float]
    source: str
    group: str = ""


class PublishedBenchmark(Protocol):
    """A benchmark: stages that find, a rule that scores, columns and published rows.

    `main` is the measure of a picture by which best and worst are told.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def main(self) -> str: ...

    @property
    def columns(self) -> Sequence[Column]: ...

    @property
    def quoted(self) -> Sequence[Quoted]: ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on how the numbers compare with published ones."""
        ...

    def stages(self, models: Models, shared: Mapping[str, Any], /) -> Sequence[Stage]:
        """What is looked for, in this order, with these models; `shared` is that of the cases."""
        ...

    def scored(self, case: Case, found: Found, /) -> Scored:
        """The parts of a picture, by the official rule."""
        ...

    def official_files(self, rows: Sequence[tuple[Case, Found]], /) -> Mapping[str, Any]:
        """What the official scorer would leave in the folder of pictures: JSON values by path."""
        ...


@dataclass
class Result:
    """Measures of one way; `unscored` names the files that have no findings. Seconds are a picture's."""

    way: str
    label: str
    estimates: Mapping[str, Estimate]
    rows: Sequence[tuple[Case, Found]]
    of_pictures: Mapping[str, float]
    unscored: Sequence[str]
    seconds: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    distances: Distances | None = None

    def estimate(self, measure: str) -> Estimate | None:
        """A measure by name, those of the distance from real pictures among them; None for what is not."""
        if self.distances is not None and measure in (FID, KID):
            fid, kid = self.distances.fid, self.distances.kid
            return Estimate(fid, np.nan, np.nan) if measure == FID else Estimate(*(1000 * one for one in kid))
        return self.estimates.get(measure)


def results(run: RunFolder, benchmark: PublishedBenchmark, stages: Sequence[Stage]) -> list[Result]:
    """A result for each way of which anything is measured."""
    found = [_result(run, benchmark, stages, way, about) for way, about in run.ways().items()]
    scored = [one for one in found if one.rows]
    measured = distances(run, [one.way for one in scored])
    return [replace(one, distances=measured.get(one.way)) for one in scored]


def _result(
    run: RunFolder,
    benchmark: PublishedBenchmark,
    stages: Sequence[Stage],
    way: str,
    about: Mapping[str, Any],
) -> Result:
    known = {stage.name: run.findings(way, stage.name) for stage in stages}
    # A look that nobody asked for is missed nowhere.
    stages = [stage for stage in stages if not stage.option or known[stage.name]]
    findings = {stage.name: known[stage.name] for stage in stages}
    rows: list[tuple[Case, Found]] = []
    unscored: list[str] = []
    for case in run.cases:
        found = found_of(case, findings)
        # A picture is scored if every stage that had something to look for has looked.
        if all(stage.name in found or not stage.asks(case, found) for stage in stages):
            rows.append((case, found))
        else:
            unscored.append(case.file)
    scored = [benchmark.scored(case, found) for case, found in rows]
    taken = [one["clock"] for one in run.findings(way, SECONDS).values()]
    return Result(
        way,
        about.get("label", way),
        _estimates([case for case, _ in rows], scored) if rows else {},
        rows,
        {case.file: _own(one, benchmark.main) for (case, _), one in zip(rows, scored, strict=True)},
        unscored,
        float(np.median(taken)) if taken else None,
        about,
    )


def _own(scored: Scored, main: str) -> float:
    """The main measure of one picture."""
    total, number = scored.parts.get(main, (0.0, 0.0))
    return total / number if number else float("nan")


def _estimates(cases: Sequence[Case], scored: Sequence[Scored]) -> dict[str, Estimate]:
    units = {unit: index for index, unit in enumerate(dict.fromkeys(case.unit for case in cases))}
    weights = resamplings(len(units), BOOTSTRAP)
    places = [units[case.unit] for case in cases]
    measures = list(dict.fromkeys(name for one in scored for name in one.parts))
    found = {name: interval(_ratio(name, scored, places, weights)) for name in measures}
    queries = [(query, place) for one, place in zip(scored, places, strict=True) for query in one.queries]
    if queries:
        own = weights[:, [place for _, place in queries]]
        found[AVERAGE_PRECISION] = interval(average_precision([query for query, _ in queries], own))
    return found


def _ratio(name: str, scored: Sequence[Scored], places: Sequence[int], weights: Floats) -> Floats:
    sums = np.zeros((2, weights.shape[1]))
    for one, place in zip(scored, places, strict=True):
        sums[:, place] += one.parts.get(name, (0.0, 0.0))
    with np.errstate(invalid="ignore"):
        return (weights @ sums[0]) / (weights @ sums[1])
