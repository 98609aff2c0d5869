"""Run of an evaluation on the bones of `harness`: what is missing is drawn, then scored and recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..generation.jobs import Drawer, Job
from ..generation.methods import NOT_SAMPLED
from ..pictures.reading import read_picture
from .benchmark import REAL, Pixels, Plan, Point, Scorer
from .harness.cases import Case
from .harness.drawing import draw_each
from .harness.measuring import Item, Measure, Stage, measure
from .harness.run_folder import Found, Shard
from .records import SCORES, AnyPlan, Evaluation


@dataclass(frozen=True)
class PlannedWay:
    """A point of a plan as the harness draws it; `drawn` gives the file of another point's picture."""

    plan: Plan
    point: Point
    drawn: Callable[[Point, int], Path]

    @property
    def name(self) -> str:
        """The name of its folder of pictures."""
        return self.point.name

    def job(self, case: Case) -> Job:
        """The picture of a case; what is not sampled starts from the real one."""
        number = int(case.id)
        job = self.plan.job(self.point, number)
        if self.point.method in NOT_SAMPLED:
            return replace(job, original=str(self.drawn(REAL, number).resolve()))
        if first := self.plan.first(self.point):
            return self.plan.after(job, np.array(read_picture(self.drawn(first, number))))
        return job


def draw_missing(
    evaluation: Evaluation[AnyPlan],
    open_drawer: Callable[[], AbstractContextManager[Drawer]],
    on_picture: Callable[[int], object] = lambda count: None,
) -> None:
    """Draw every picture that has no record; `on_picture` is called with numbers of those that are there.

    `open_drawer` is called once, and only if something has to be drawn.
    """

    drawn: dict[tuple[Point, int], tuple[PlannedWay, Case]] = {}
    missing = evaluation.missing()
    seconds = evaluation.seconds()
    for point, number in missing:
        if point.method in NOT_SAMPLED and not (real := evaluation.picture(REAL, number)).is_file():
            _save(evaluation.plan.real(number), real)
        first = evaluation.plan.first(point)
        for each in (point,) if first is None else (first, point):
            file, case = evaluation.picture(each, number), evaluation.run.cases[number]
            # A picture whose seconds are not known would take them from all of its point.
            if not file.is_file() or (each.method not in NOT_SAMPLED and case.id not in seconds[each]):
                way = PlannedWay(evaluation.plan, each, evaluation.picture)
                drawn.setdefault((each, number), (way, case))
    # Less than nothing where first pictures are drawn that nobody asked for: all are counted when they come.
    on_picture(len(missing) - len(drawn))

    @contextmanager
    def warmed_up() -> Iterator[Drawer]:
        with open_drawer() as drawer:
            _warm_up(evaluation, drawer, list(drawn.values()))
            yield drawer

    draw_each(evaluation.run, list(drawn.values()), warmed_up, Shard(), on_picture)


def score_drawn(
    evaluation: Evaluation[AnyPlan],
    scorers: Sequence[Scorer],
    on_pictures: Callable[[int], object] = lambda count: None,
) -> dict[str, str]:
    """Score and record every picture that is there and has no record; what cannot be read, with reasons.

    `on_pictures` is called with numbers of pictures done.
    """

    def load() -> Measure:
        return lambda items: [_scores(item, scorers) for item in items]

    broken: dict[str, str] = {}
    missing = set(evaluation.missing())
    for point in dict.fromkeys(point for point in evaluation.plan.points()):

        def asks(case: Case, found: Found, point: Point = point) -> bool:
            return (point, int(case.id)) in missing

        if any(one == point for one, _ in missing):
            stages = (Stage(SCORES, load, asks),)
            outcome = measure(evaluation.run, point.name, stages, on_pictures=on_pictures)
            broken |= {f"{point.name}/{file}": reason for file, reason in outcome.broken.items()}
    evaluation.collect()
    return broken


def _save(pixels: Pixels, file: Path) -> None:
    """Write a picture, whole or not at all: what is there is not made again."""
    unfinished = file.with_name(f".unfinished-{os.getpid()}.png")
    try:
        Image.fromarray(pixels).save(unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _scores(item: Item, scorers: Sequence[Scorer]) -> dict[str, Any]:
    pixels = np.array(item.picture)
    return {k: v for scorer in scorers for k, v in scorer(pixels, item.case.layout).items()}


def _warm_up(
    evaluation: Evaluation[AnyPlan], drawer: Drawer, drawn: Sequence[tuple[PlannedWay, Case]]
) -> None:
    """Draw a picture that is thrown away: the first of a process pays for what is loaded and cached once."""
    sampled = next((one for one in drawn if one[0].point.method not in NOT_SAMPLED), None)
    if sampled is None:
        return
    way, case = sampled
    job = way.job(case)
    file = evaluation.folder / "pictures" / f"warm-up-{os.getpid()}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    drawer.draw(replace(job, sampling=replace(job.sampling, steps=1)), file)
    file.unlink()
