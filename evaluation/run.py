"""Run of an evaluation: what is missing is drawn, scored and recorded, picture by picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..generation.jobs import Drawer, Job, Seconds
from ..generation.methods import NOT_SAMPLED
from ..pictures.reading import PictureError, read_picture
from .benchmark import REAL, Point, Scorer
from .records import AnyPlan, Evaluation


def draw_and_score(
    evaluation: Evaluation[AnyPlan],
    scorers: Sequence[Scorer],
    open_drawer: Callable[[], AbstractContextManager[Drawer]],
    on_picture: Callable[[], object] = lambda: None,
) -> None:
    """Draw, score and record every missing picture; `on_picture` is called after each.

    `open_drawer` is called once, and only if something has to be drawn.
    """
    missing = evaluation.missing()
    with ExitStack() as stack:
        drawer: Drawer | None = None
        if any(point != REAL for point, _ in missing):
            drawer = stack.enter_context(open_drawer())
            _warm_up(evaluation, drawer, missing)
        for point, number in missing:
            job = evaluation.plan.job(point, number)
            seconds = _draw(evaluation, drawer, job, point, number)
            picture = _read(evaluation.picture(point, number))
            scores = {k: v for scorer in scorers for k, v in scorer(picture, job.layout).items()}
            values = {"things": len(job.layout.active), "seconds": seconds, **scores}
            evaluation.add(point, number, values)
            on_picture()


def _read(file: Path) -> np.ndarray:
    try:
        return np.array(read_picture(file))
    except PictureError as error:
        raise PictureError(f"{file} {error}; delete it to have it drawn again") from error


def _draw(
    evaluation: Evaluation[AnyPlan], drawer: Drawer | None, job: Job, point: Point, number: int
) -> Seconds | None:
    """Write a picture; the seconds it took, None for what was not sampled."""
    file = evaluation.picture(point, number)
    if point.method in NOT_SAMPLED:
        original = evaluation.picture(REAL, number)
        Image.fromarray(evaluation.plan.real(number)).save(original)
        if point != REAL:
            assert drawer is not None
            drawer.draw(replace(job, original=str(original.resolve())), file)
        return None
    assert drawer is not None
    return drawer.draw(job, file)


def _warm_up(evaluation: Evaluation[AnyPlan], drawer: Drawer, missing: Sequence[tuple[Point, int]]) -> None:
    """Draw a picture that is thrown away: the first of a process pays for what is loaded and cached once."""
    sampled = next((one for one in missing if one[0].method not in NOT_SAMPLED), None)
    if sampled is None:
        return
    job = evaluation.plan.job(*sampled)
    file = evaluation.folder / "pictures" / f"warm-up-{os.getpid()}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    drawer.draw(replace(job, sampling=replace(job.sampling, steps=1)), file)
    file.unlink()
