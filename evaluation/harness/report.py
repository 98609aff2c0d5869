"""Report of a run: a table with the published rows marked as quoted, a plot, a sheet of best and worst."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ...models.vision.inception import WIDTH
from ...pictures import draw_layout, side_by_side
from ...pictures.reading import PictureError, named, read_picture
from ..plots import Bar, draw_bars
from ..statistics import Estimate
from ..tables import percent, plain, table, write_parts
from .distances import FID, KID, describe, reference_run
from .results import Column, PublishedBenchmark, Quoted, Result
from .run_folder import RunFolder

_SHOWN = 6
_LAYOUTS, _FEWEST_WAYS = 4, 2
_SIDE = 256
_COLOR = "#2f6fb5"
_LONGEST = 90
# What cases about Shapes World say of themselves.
WORLD = "shapes_world"
# What is noted in the place of a model's name, where the judge of that world measured.
WORLD_JUDGE = "the judge of Shapes World"
_DISTANCES = (Column(FID, "FID"), Column(KID, "KID × 1000"))
_QUOTED = "Rows marked *quoted* are published ones and were not measured here."
_OF_THE_WORLD = (
    "These are scenes of Shapes World: they show that everything runs, and compare with no published row."
)
_BY_THE_WORLD = (
    "The judge of Shapes World reads its own scenes alone: these numbers say nothing of these pictures, and "
    "no published row stands beside them. Copy the folder without findings/ and models.json, and let `score` "
    "measure without --tiny, with models."
)


def write_report(
    run: RunFolder, benchmark: PublishedBenchmark, results: Sequence[Result], target: Path
) -> None:
    """Write the report of all ways as Markdown, with the plot, sheets and numbers (JSON) beside it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    plot, models = target.with_suffix(".svg"), run.models()
    columns = [
        column
        for column in (*benchmark.columns, *_DISTANCES)
        if any(result.estimate(column.measure) is not None for result in results)
    ]
    bars = [Bar(one.label, _COLOR, one.estimates[benchmark.main], one.seconds) for one in results]
    draw_bars(bars, f"{benchmark.title}, {benchmark.main}", plot)
    parts = [
        f"# {benchmark.title}",
        f"{run.list.source}; checksum of the cases {run.list.checksum[:16]}. Brackets are 95 % intervals, by "
        f"bootstrap over prompts. {_compares(run)}",
        _measured_by(models, run.precisions()),
        _table([_named(column, models) for column in columns], results, _beside(run, benchmark)),
        f"![{benchmark.main}]({plot.name})",
        *benchmark.notes,
        _told_of_distances(run, results),
        _unscored(results),
        _every_way(run, results, target),
        *(_sheet(run, result, target) for result in results),
    ]
    write_parts(parts, target)
    values = {result.way: _plain_values(result) for result in results}
    target.with_suffix(".json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_official_files(
    run: RunFolder, benchmark: PublishedBenchmark, results: Sequence[Result]
) -> list[Path]:
    """Write what the official scorer would leave, below `official/<way>`; the files."""
    written: list[Path] = []
    for result in results:
        for path, values in benchmark.official_files(result.rows).items():
            file = run.folder / "official" / result.way / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values), encoding="utf-8")
            written.append(file)
    return written


def _compares(run: RunFolder) -> str:
    """Whether numbers of a run compare with published ones, in a sentence."""
    if run.list.shared.get(WORLD):
        return _OF_THE_WORLD
    return _BY_THE_WORLD if WORLD_JUDGE in run.models().values() else _QUOTED


def _beside(run: RunFolder, benchmark: PublishedBenchmark) -> list[Quoted]:
    """The published rows of what the cases are a part of; none beside scenes and judge of Shapes World."""
    if _compares(run) != _QUOTED:
        return []
    groups = {case.group for case in run.cases}
    return [row for row in benchmark.quoted if not row.group or row.group in groups]


def _measured_by(models: Mapping[str, str], precisions: Mapping[str, str]) -> str:
    """By which models it was measured, and in which precision; nothing where that was not noted."""
    names = dict.fromkeys(models.values())
    told = {use: f"{use}, {precisions[use]}" if use in precisions else use for use in models}
    uses = {name: ", ".join(told[use] for use, own in models.items() if own == name) for name in names}
    return f"Measured by {'; '.join(f'{name} ({use})' for name, use in uses.items())}." if uses else ""


def _named(column: Column, models: Mapping[str, str]) -> Column:
    """The column under the name of what was really measured."""
    by_the_world = WORLD_JUDGE in models.values()
    return column._replace(header=column.in_world) if by_the_world and column.in_world else column


def _table(columns: Sequence[Column], results: Sequence[Result], quoted: Sequence[Quoted]) -> str:
    header = ("way", "pictures", *(column.header for column in columns), "seconds")
    rows: list[Sequence[Any]] = []
    for result in results:
        cells = [_cell(column, result.estimate(column.measure)) for column in columns]
        seconds = "" if result.seconds is None else f"{result.seconds:.1f}"
        rows.append((result.label, len(result.rows), *cells, seconds))
    for row in quoted:
        cells = [_quoted_cell(column, row.values.get(column.measure)) for column in columns]
        if any(cells):
            rows.append((f"*{row.label}, quoted from {row.source}*", "", *cells, ""))
    return table(header, rows)


def _cell(column: Column, estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return percent(estimate) if column.percent else plain(estimate, 4 if abs(estimate.value) <= 1 else 2)


def _quoted_cell(column: Column, value: float | None) -> str:
    if value is None:
        return ""
    return f"*{100 * value:.1f}*" if column.percent else f"*{value:g}*"


def _told_of_distances(run: RunFolder, results: Sequence[Result]) -> str:
    """What FID and KID were taken between, and how far they compare; nothing where they were not."""
    measured = {result.label: result.distances for result in results if result.distances is not None}
    reference = reference_run(run) if measured else None
    if reference is None:
        return ""
    counts = dict.fromkeys(one.pictures for one in measured.values())
    own = (
        f"{next(iter(counts))} pictures a way"
        if len(counts) == 1
        else "; ".join(f"{label} has {one.pictures}" for label, one in measured.items())
    )
    few = f" Under {WIDTH} pictures it rests on fewer than it has features." if min(counts) < WIDTH else ""
    subset = min(one.subset for one in measured.values())
    return (
        f"FID and KID: {own}, from {describe(reference)}. FID is the larger the fewer pictures there are: it "
        "compares at equal numbers, references and resizing alone, and has no interval, since pictures drawn "
        f"twice in a bootstrap would raise it.{few} KID has no such bias; its brackets hold 95 % of subsets "
        f"of {subset} pictures."
    )


def _unscored(results: Sequence[Result]) -> str:
    lines = [
        f"- {result.label}: {named([Path(file) for file in result.unscored])}"
        for result in results
        if result.unscored
    ]
    if not lines:
        return ""
    return "Pictures without a row, being not drawn, not scored or not readable:\n\n" + "\n".join(lines)


def _every_way(run: RunFolder, results: Sequence[Result], target: Path) -> str:
    """Draw the first cases that every way has a row of, one row each; the Markdown that shows them."""
    if len(results) < _FEWEST_WAYS:
        return ""
    scored = [set(result.of_pictures) for result in results]
    rows: list[Image.Image] = []
    for case in run.cases:
        if len(rows) == _LAYOUTS or not all(case.file in own for own in scored):
            continue
        try:
            pictures = [read_picture(run.picture(result.way, case)) for result in results]
        except PictureError:
            continue
        height = _SIDE * pictures[0].height // max(pictures[0].size)
        size = round(pictures[0].width * height / pictures[0].height), height
        shown = [draw_layout(case.layout, size), *(one.resize(size) for one in pictures)]
        labels = [f"{_of_one(result.of_pictures[case.file])} {result.label}" for result in results]
        rows.append(side_by_side(shown, [case.layout.prompt or "layout", *labels]))
    if not rows:
        return ""
    file = target.with_name(f"{target.stem}-ways.jpg")
    _below_each_other(rows).save(file, "JPEG", quality=85)
    return f"One layout, every way; numbers are the pictures' own:\n\n![Every way]({file.name})"


def _of_one(value: float) -> str:
    """The main measure of one picture, a dash where it has none."""
    return plain(Estimate(value, math.nan, math.nan), 2)


def _below_each_other(rows: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _sheet(run: RunFolder, result: Result, target: Path) -> str:
    """Draw the best and the worst pictures of a way beside their layouts; the Markdown that shows them."""
    ranked = sorted(
        (row for row in result.rows if not math.isnan(result.of_pictures[row[0].file])),
        key=lambda row: -result.of_pictures[row[0].file],
    )
    chosen = list(
        dict.fromkeys([*range(min(_SHOWN, len(ranked))), *range(max(0, len(ranked) - _SHOWN), len(ranked))])
    )
    rows: list[Image.Image] = []
    for place in chosen:
        case, _ = ranked[place]
        try:
            picture = read_picture(run.picture(result.way, case))
        except PictureError:
            continue  # it could be read when it was scored, and has its row
        scale = _SIDE / max(picture.size)
        size = round(picture.width * scale), round(picture.height * scale)
        words = (
            case.layout.prompt if len(case.layout.prompt) <= _LONGEST else f"{case.layout.prompt[:_LONGEST]}…"
        )
        label = f"{result.of_pictures[case.file]:.2f}: {words}"
        rows.append(side_by_side([draw_layout(case.layout, size), picture.resize(size)], ["layout", label]))
    if not rows:
        return ""
    file = target.with_name(f"{target.stem}-{result.way}.jpg")
    _below_each_other(rows).save(file, "JPEG", quality=85)
    return (
        f"Best and worst of {result.label}; numbers are the pictures' own:\n\n![{result.label}]({file.name})"
    )


def _plain_values(result: Result) -> dict[str, Any]:
    estimates: Mapping[str, Estimate] = result.estimates
    return {
        "label": result.label,
        "about": dict(result.about),
        "pictures": len(result.rows),
        "unscored": list(result.unscored),
        "measures": {name: list(_finite(estimate)) for name, estimate in estimates.items()},
        **({} if result.distances is None else {"distances": result.distances._asdict()}),
    }


def _finite(estimate: Estimate) -> tuple[float | None, ...]:
    """The value and its interval; None for what is not a number, which JSON does not have."""
    return tuple(value if math.isfinite(value) else None for value in estimate)
