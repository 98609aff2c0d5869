"""Runs of a small benchmark with a drawer, scorer and report of its own, and records old and new."""

from __future__ import annotations

import json
import os
import resource
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from instance_composer.evaluation.benchmark import REAL, PlanError, Point
from instance_composer.evaluation.benchmarks.placement.plan import PlacementPlan
from instance_composer.evaluation.harness.cases import CaseList
from instance_composer.evaluation.records import Evaluation
from instance_composer.evaluation.run import draw_missing, score_drawn
from instance_composer.generation.jobs import Job, Sampling
from instance_composer.layout import Canvas, Layout

LIGHT = Point("paint", (("light", 2.0),))


@dataclass(frozen=True)
class GreyPlan:
    """Pictures of one grey, the number of the picture times ten, and of twice that."""

    count: int = 3
    method: str = "paint"
    family: str = "grey"

    def points(self):
        return [REAL, Point("reconstructed"), Point(self.method), LIGHT]

    def identity(self):
        return {"method": self.method}

    def layout(self, number):
        return Layout((), Canvas(8, 8), f"grey {number}")

    def job(self, point, number):
        options = {"grey": 10 * number * dict(point.settings).get("light", 1.0)}
        return Job("grey", point.method, self.layout(number), 8, 8, Sampling(seed=number), options)

    def first(self, point):
        return None

    def real(self, number):
        return np.full((8, 8, 3), 10 * number, dtype=np.uint8)


@dataclass(frozen=True)
class SecondLookPlan(GreyPlan):
    """Pictures one lighter than the first ones, which "paint" draws."""

    first_too: bool = False

    def points(self):
        return [Point("again"), *([Point("paint")] if self.first_too else [])]

    def first(self, point):
        return Point("paint") if point.method == "again" else None

    def after(self, job, picture):
        return replace(job, options={"grey": float(picture.mean()) + 1})


class Painter:
    """Paints the grey of a job, or copies what a job starts from; remembers what it drew."""

    def __init__(self):
        self.drawn = []

    def draw(self, job, file):
        self.drawn.append((job.method, job.sampling.steps, job.layout.prompt))
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
    draw_missing(evaluation, lambda: opened(drawer))
    broken = score_drawn(evaluation, [mean, lambda picture, _: {"side": len(picture)}])
    assert not broken
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


@pytest.mark.parametrize("first_too", [False, True])
def test_what_begins_with_a_first_picture_sees_it_and_costs_both(first_too, tmp_path):
    painter, counts = Painter(), []
    evaluation = Evaluation(tmp_path, SecondLookPlan(first_too=first_too))
    draw_missing(evaluation, lambda: opened(painter), counts.append)
    # Each first picture once, before the second, whether it is compared or not.
    assert [method for method, *_ in painter.drawn[1:]] == ["paint", "again"] * 3
    assert sum(counts) == len(evaluation.missing())
    score_drawn(evaluation, [mean])
    assert [evaluation.records[Point("again"), n]["mean"] for n in range(3)] == [1, 11, 21]
    assert {one["seconds"]["cpu"] for one in evaluation.records.values() if one["method"] == "again"} == {2.0}
    assert sum(one["method"] == "paint" for one in evaluation.records.values()) == 3 * first_too
    # A first picture that is gone is drawn again, for a second one alone.
    for way, number in (("again", 1), ("paint", 1), ("paint", 2)):
        (tmp_path / "pictures" / way / f"0000{number}.png").unlink()
    (tmp_path / "records.jsonl").unlink()
    (tmp_path / "findings" / "again").rename(tmp_path / "other")
    painter = Painter()
    evaluation = Evaluation(tmp_path, SecondLookPlan())
    draw_missing(evaluation, lambda: opened(painter))
    assert [(method, prompt) for method, _, prompt in painter.drawn[1:]] == [
        ("again", "grey 0"),
        ("paint", "grey 1"),
        ("again", "grey 1"),
        ("paint", "grey 2"),
        ("again", "grey 2"),
    ]


def test_a_report_of_fewer_is_of_the_first_that_are_asked_for(tmp_path):
    assert run(tmp_path, Painter(), count=6).reached == 6
    evaluation = Evaluation(tmp_path, GreyPlan(count=4))
    complete = evaluation.complete(evaluation.plan.points())
    assert [[one["number"] for one in records] for records in complete.values()] == [[0, 1, 2, 3]] * 4
    assert evaluation.reached == 6


def test_a_run_goes_on_where_it_stopped(tmp_path):
    run(tmp_path, Painter())
    records = tmp_path / "records.jsonl"
    whole = records.read_text()
    records.write_text(whole[:-30])
    (tmp_path / "pictures" / "paint" / "00001.png").unlink()
    painter = Painter()
    # The last line was cut, and is found again; a record stands for its picture.
    assert run(tmp_path, painter).folder.joinpath("records.jsonl").read_text() == whole
    assert not painter.drawn
    # More of it, where one picture lost its record, its findings and itself.
    lines = whole.splitlines()
    lost = next(line for line in lines if '"paint", "number": 1' in line and "light" not in line)
    records.write_text("\n".join(line for line in lines if line != lost) + "\n")
    for file in (tmp_path / "findings" / "paint").iterdir():
        kept = [line for line in file.read_text().splitlines() if '"00001"' not in line]
        file.write_text("\n".join(kept) + "\n")
    evaluation = run(tmp_path, painter, count=4)
    assert [prompt for *_, prompt in painter.drawn][1:] == ["grey 1", "grey 3", "grey 3", "grey 3"]
    assert json.loads(lost) in evaluation.records.values()
    assert not Evaluation(tmp_path, GreyPlan()).missing()
    with pytest.raises(PlanError, match="method was paint and is now draw"):
        Evaluation(tmp_path, GreyPlan(method="draw"))


def test_a_run_that_is_stopped_while_it_draws_is_scored_as_far_as_it_came(tmp_path):
    class Stopped(Painter):
        def draw(self, job, file):
            if len(self.drawn) == 8:
                raise KeyboardInterrupt
            return super().draw(job, file)

    evaluation = Evaluation(tmp_path, GreyPlan())
    with pytest.raises(KeyboardInterrupt):
        draw_missing(evaluation, lambda: opened(Stopped()))
    assert not evaluation.records
    score_drawn(evaluation, [mean])
    # Number by number: two whole ones, and the first of the third, whose real picture is there already.
    assert [sum(n == number for _, n in evaluation.records) for number in range(3)] == [4, 4, 2]
    assert not list(tmp_path.rglob(".unfinished*"))


def test_cases_are_frozen_as_the_plan_has_them_and_grow_with_it(tmp_path):
    plan = PlacementPlan(("plain",), 3)
    evaluation = Evaluation(tmp_path, plan)
    assert [case.layout for case in evaluation.run.cases] == [plan.layout(number) for number in range(3)]
    first = CaseList.read(tmp_path / "cases.jsonl")
    assert [case.layout for case in first.cases] == [plan.layout(number) for number in range(3)]
    assert [case.seed for case in first.cases] == [plan.sampling.seed + number for number in range(3)]
    assert len(Evaluation(tmp_path, replace(plan, count=4)).run.cases) == 4
    assert CaseList.read(tmp_path / "cases.jsonl").cases[:3] == first.cases
    assert Evaluation(tmp_path, replace(plan, count=2)).run.cases == first.cases[:2]


def test_a_report_alone_begins_nothing(tmp_path):
    with pytest.raises(PlanError, match=r"has no plan\.json, so nothing has been run there"):
        Evaluation(tmp_path / "none", GreyPlan(), begin=False)
    assert not (tmp_path / "none").exists()
    run(tmp_path / "some", Painter())
    assert not Evaluation(tmp_path / "some", GreyPlan(), begin=False).missing()
    with pytest.raises(PlanError, match="another evaluation"):
        Evaluation(tmp_path / "some", GreyPlan(method="draw"), begin=False)


def test_nothing_is_opened_where_nothing_has_to_be_drawn(tmp_path):
    run(tmp_path, Painter())
    draw_missing(Evaluation(tmp_path, GreyPlan()), lambda: pytest.fail("opened"))


def test_a_picture_that_cannot_be_read_costs_its_own_record(tmp_path):
    class Broken(Painter):
        def draw(self, job, file):
            seconds = super().draw(job, file)
            if job.method == "paint" and job.layout.prompt == "grey 1":
                file.write_bytes(b"no picture")
            return seconds

    evaluation = Evaluation(tmp_path, GreyPlan())
    draw_missing(evaluation, lambda: opened(Broken()))
    broken = score_drawn(evaluation, [mean])
    assert list(broken) == ["paint/00001.png", "paint@2/00001.png"]
    assert "cannot be read" in broken["paint/00001.png"]
    assert len(evaluation.records) == 4 * 3 - 2
    assert evaluation.missing() == [(Point("paint"), 1), (LIGHT, 1)]


def test_a_real_picture_is_whole_or_not_there(tmp_path):
    @dataclass(frozen=True)
    class NoisyPlan(GreyPlan):
        def real(self, number):
            return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)

    evaluation = Evaluation(tmp_path, NoisyPlan())
    real = evaluation.picture(REAL, 0)
    child = os.fork()
    if child == 0:
        # As killed while it writes: with what comes after the first 100 bytes of a file.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        draw_missing(evaluation, lambda: opened(Painter()))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ
    assert any(file.stat().st_size for file in real.parent.iterdir())
    assert not real.exists()
    draw_missing(evaluation, lambda: opened(Painter()))
    with Image.open(tmp_path / "pictures" / "reconstructed" / "00000.png") as picture:
        assert np.array_equal(np.asarray(picture), NoisyPlan().real(0))


def test_settings_that_stood_in_a_method_s_name_are_read_as_settings(tmp_path):
    old = {"method": "local@3,1,0.5", "number": 4}
    (tmp_path / "records.jsonl").write_text(json.dumps(old) + "\n")
    ((point, number),) = Evaluation(tmp_path, GreyPlan()).records
    assert number == 4
    assert point == Point("local", (("strength", 3.0), ("token_weight", 1.0), ("pixel_weight", 0.5)))
    assert point.name == old["method"]
