"""What a report says beside its numbers: by whom they were measured, and with what they compare."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from instance_composer.evaluation.benchmark import PlanError
from instance_composer.evaluation.harness.cases import FILE, Case, CaseList
from instance_composer.evaluation.harness.measuring import Stage, measure
from instance_composer.evaluation.harness.report import WORLD, WORLD_JUDGE, write_report
from instance_composer.evaluation.harness.results import Column, Quoted, Scored, results
from instance_composer.evaluation.harness.run_folder import RunFolder
from instance_composer.layout import Canvas, Layout


class Benchmark:
    """Scores a picture by what was found, None being nothing to score."""

    name, title, main, notes = "ifg", "made up", "score", ()
    columns, quoted = (Column("score", "score"),), (Quoted("GLIGEN", {"score": 0.7}, "a table"),)

    def scored(self, case, found):
        return Scored({"score": (0.0, 0.0) if found["look"] is None else (found["look"], 1.0)})


def reported(folder, models, precisions=None, shared=None, found=(1.0, 0.5)):
    cases = tuple(Case(str(n), f"{n}.png", Layout((), Canvas(16, 16), "p"), n, str(n)) for n in range(2))
    CaseList("ifg", "made up", cases, shared or {}).write(folder / FILE)
    run = RunFolder(folder)
    stages = [Stage("look", lambda: lambda items: [found[item.case.seed] for item in items])]
    for way in ("plain", "local"):
        run.add_way(way, {"label": way})
        for case in cases:
            file = run.picture(way, case)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16)).save(file)
        measure(run, way, stages)
    run.add_models(models, precisions=precisions)
    write_report(run, Benchmark(), results(run, Benchmark(), stages), folder / "report.md")
    return (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("judge", "shared", "quoted", "said"),
    [
        ("dino", {}, True, "published ones and were not measured here"),
        (WORLD_JUDGE, {}, False, "say nothing of these pictures"),
        (WORLD_JUDGE, {WORLD: True}, False, "These are scenes of Shapes World"),
        ("dino", {WORLD: True}, False, "These are scenes of Shapes World"),
    ],
)
def test_published_rows_stand_beside_what_compares_with_them(judge, shared, quoted, said, tmp_path):
    report = reported(tmp_path, {"detector": judge}, shared=shared)
    assert said in report
    assert ("quoted from a table" in report) == quoted


def test_the_precision_of_models_is_said_where_it_is_known(tmp_path):
    report = reported(tmp_path, {"vlm": "qwen", "clip": "vit", "depth": "dpt"}, {"vlm": "fp16"})
    assert "Measured by qwen (vlm, fp16); vit (clip); dpt (depth)." in report
    assert json.loads((tmp_path / "models.json").read_text())["precisions"] == {"vlm": "fp16"}


def test_findings_in_another_precision_are_not_added_to(tmp_path):
    run = RunFolder(tmp_path, CaseList("ifg", "made up", ()))
    run.add_models({"vlm": "qwen", "detector": "tiny"}, {"vlm": "a"}, {"vlm": "fp32"})
    assert (run.precisions(), set(run.models())) == ({"vlm": "fp32"}, {"vlm", "detector"})
    run.check_models({"vlm": "qwen", "depth": "dpt"}, precisions={"vlm": "fp32", "depth": "fp16"})
    for note in (run.check_models, run.add_models):
        with pytest.raises(
            PlanError, match=r"precision: vlm in fp32 and now in fp16. Say the same with --dt"
        ):
            note({"vlm": "qwen"}, precisions={"vlm": "fp16"})
    # What measured before it was noted goes on, in whatever it was.
    (tmp_path / "old").mkdir()
    old = RunFolder(tmp_path / "old", run.list)
    old.add_models({"vlm": "qwen"})
    old.add_models({"vlm": "qwen"}, precisions={"vlm": "fp16"})
    old.add_models({"vlm": "qwen"}, precisions={"vlm": "fp32"})
    assert old.precisions() == {}


def test_a_picture_without_a_score_has_a_dash(tmp_path, monkeypatch):
    labels = []

    def noted(pictures, words):
        labels.extend(words)
        return Image.new("RGB", (16, 16))

    monkeypatch.setattr("instance_composer.evaluation.harness.report.side_by_side", noted)
    reported(tmp_path, {}, found=(None, 0.5))
    assert "– plain" in labels
    assert "0.50 local" in labels
    assert not any("nan" in label for label in labels)
