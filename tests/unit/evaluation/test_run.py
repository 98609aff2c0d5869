"""Runs of a small benchmark with a drawer, scorer and report of its own, and records old and new."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from instance_composer.evaluation.benchmark import REAL, PlanError, Point
from instance_composer.evaluation.records import Evaluation
from instance_composer.evaluation.run import draw_and_score
from instance_composer.generation.jobs import Job, Sampling
from instance_composer.layout import Canvas, Layout
from instance_composer.pictures.reading import PictureError

LIGHT = Point("paint", (("light", 2.0),))


@dataclass(frozen=True)
class GreyPlan:
    """Pictures of one grey, the number of the picture times ten, and of twice that."""

    count: int = 3
    method: str = "paint"

    def points(self):
        return [REAL, Point("reconstructed"), Point(self.method), LIGHT]

    def identity(self):
        return {"method": self.method}

    def job(self, point, number):
        options = {"grey": 10 * number * dict(point.settings).get("light", 1.0)}
        layout = Layout((), Canvas(8, 8), f"grey {number}")
        return Job("grey", point.method, layout, 8, 8, Sampling(seed=number), options)

    def real(self, number):
        return np.full((8, 8, 3), 10 * number, dtype=np.uint8)


class Painter:
    """Paints the grey of a job, or copies what a job starts from; remembers what it drew."""

    def __init__(self):
        self.drawn = []

    def draw(self, job, file):
        self.drawn.append((job.method, job.sampling.steps, file.name))
        if job.original:
            with Image.open(job.original) as original:
                original.save(file)
        else:
            Image.new("RGB", (job.width, job.height), (int(job.options["grey"]),) * 3).save(file)
        return {"cpu": 1.0, "clock": 2.0}


def mean(picture, layout):
    return {"mean": float(picture.mean()), "prompt": layout.prompt}


@contextmanager
def opened(drawer):
    yield drawer


def run(folder, drawer, **settings):
    evaluation = Evaluation(folder, GreyPlan(**settings))
    draw_and_score(evaluation, [mean, lambda picture, _: {"side": len(picture)}], lambda: opened(drawer))
    return evaluation


def test_every_point_is_drawn_scored_and_recorded_once(tmp_path):
    painter = Painter()
    evaluation = run(tmp_path, painter)
    # One picture of one step is thrown away, real ones are not drawn.
    assert painter.drawn[0][:2] == ("paint", 1)
    assert len(painter.drawn) == 1 + 3 * 3
    assert not list((tmp_path / "pictures").glob("warm-up*"))
    complete = evaluation.complete(GreyPlan().points())
    assert {point: [one["mean"] for one in records] for point, records in complete.items()} == {
        REAL: [0, 10, 20],
        Point("reconstructed"): [0, 10, 20],
        Point("paint"): [0, 10, 20],
        LIGHT: [0, 20, 40],
    }
    assert all(
        one["side"] == 8 and one["prompt"] == "grey 1" for (_, n), one in evaluation.records.items() if n == 1
    )
    assert complete[LIGHT][0]["settings"] == {"light": 2.0}
    assert complete[REAL][0]["seconds"] is complete[Point("reconstructed")][0]["seconds"] is None
    assert (tmp_path / "pictures" / "paint@2" / "00002.png").is_file()


def test_a_run_goes_on_where_it_stopped(tmp_path):
    run(tmp_path, Painter())
    records = tmp_path / "records.jsonl"
    whole = records.read_text()
    records.write_text(whole[:-30])
    painter = Painter()
    assert records.read_text() != run(tmp_path, painter).folder.joinpath("records.jsonl").read_text() == whole
    # The last line was cut, so that its picture is drawn again, after a first of one step.
    assert [name for *_, name in painter.drawn][1:] == ["00002.png"]
    assert not Evaluation(tmp_path, GreyPlan()).missing()
    with pytest.raises(PlanError, match="method was paint and is now draw"):
        Evaluation(tmp_path, GreyPlan(method="draw"))


def test_nothing_is_opened_where_nothing_has_to_be_drawn(tmp_path):
    run(tmp_path, Painter())
    draw_and_score(Evaluation(tmp_path, GreyPlan()), [mean], lambda: pytest.fail("opened"))


def test_a_picture_that_cannot_be_read_is_no_record(tmp_path):
    class Broken(Painter):
        def draw(self, job, file):
            file.write_bytes(b"no picture")
            return {"cpu": 0.0, "clock": 0.0}

    with pytest.raises(PictureError, match="cannot be read"):
        run(tmp_path, Broken())
    assert {point for point, _ in Evaluation(tmp_path, GreyPlan()).records} == {REAL}


def test_settings_that_stood_in_a_method_s_name_are_read_as_settings(tmp_path):
    old = {"method": "local@3,1,0.5", "number": 4}
    (tmp_path / "records.jsonl").write_text(json.dumps(old) + "\n")
    ((point, number),) = Evaluation(tmp_path, GreyPlan()).records
    assert number == 4
    assert point == Point("local", (("strength", 3.0), ("token_weight", 1.0), ("pixel_weight", 0.5)))
    assert point.name == old["method"]
