"""The harness of published benchmarks: what is frozen, continued, shared, broken and counted."""

from __future__ import annotations

import json
import os
import shutil
import weakref
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instance_composer.evaluation.benchmark import PlanError
from instance_composer.evaluation.benchmarks.published import BENCHMARKS
from instance_composer.evaluation.harness.cases import FILE, Case, CaseList, check_unique
from instance_composer.evaluation.harness.drawing import Way, draw
from instance_composer.evaluation.harness.measuring import Stage, measure
from instance_composer.evaluation.harness.results import Scored, results
from instance_composer.evaluation.harness.run_folder import RunFolder, Shard
from instance_composer.generation.jobs import Sampling
from instance_composer.layout import Box, Canvas, Instance, Layout

WAY = Way("plain", "diffusers", "plain", Sampling(steps=1))


class Noise:
    """A drawer whose pictures are noise of the job's seed; it stops by force after some."""

    def __init__(self, last: int = 1000) -> None:
        self.left = last

    def draw(self, job, file):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        pixels = np.random.default_rng(job.sampling.seed).integers(0, 256, (job.height, job.width, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        return {"cpu": 1.0, "clock": 2.0}


def opened(drawer):
    @contextmanager
    def enter():
        yield drawer

    return enter


def case(number: int, ending: str = "png") -> Case:
    return Case(
        str(number), f"a/p_{number}.{ending}", Layout((), Canvas(40, 32), "p"), number, f"u{number // 2}"
    )


def make_run(folder: Path, count: int = 6, ending: str = "png") -> RunFolder:
    folder.mkdir(parents=True, exist_ok=True)
    CaseList("ifg", "made up", tuple(case(n, ending) for n in range(count))).write(folder / FILE)
    return RunFolder(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def mean_stage(name="mean", asks=lambda case, found: True, seen=None):
    def load():
        def look(items):
            if seen is not None:
                seen.append([item.case.id for item in items])
            return [float(np.asarray(item.picture).mean()) for item in items]

        return look

    return Stage(name, load, asks)


def test_frozen_cases_come_back_and_changes_are_told(tmp_path):
    cases = CaseList("ifg", "made up", (case(0), case(1)), {"labels": ["cat"]})
    cases.write(tmp_path / FILE)
    assert CaseList.read(tmp_path / FILE) == cases
    text = (tmp_path / FILE).read_text()
    assert cases.checksum in text
    (tmp_path / FILE).write_text(text.replace('"seed":1', '"seed":2'))
    with pytest.raises(PlanError, match="was changed after it was frozen"):
        CaseList.read(tmp_path / FILE)
    (tmp_path / FILE).write_text(text.replace('"cat"', '"dog"'))
    with pytest.raises(PlanError, match="was changed"):
        CaseList.read(tmp_path / FILE)
    (tmp_path / FILE).write_text("{}\n")
    with pytest.raises(PlanError, match="no frozen cases"):
        CaseList.read(tmp_path / FILE)


def test_captions_may_hold_what_other_programs_end_lines_with(tmp_path):
    caption = "a red\u2028ball\x85on\x1egrey"
    instance = Instance("1", Box(0.0, 0.0, 1.0, 1.0), caption)
    own = replace(case(0), layout=Layout((instance,), Canvas(40, 32), caption))
    cases = CaseList("ifg", "made up", (own, case(1)))
    cases.write(tmp_path / FILE)
    assert CaseList.read(tmp_path / FILE) == cases


@pytest.mark.parametrize("kind", ["cases", "way", "models"])
def test_two_processes_may_note_the_same_at_once(kind, tmp_path, monkeypatch):
    """As those that a launcher starts do; the other one is here between writing and giving the name."""
    run = make_run(tmp_path)
    notes = {
        "cases": lambda: run.list.write(tmp_path / FILE),
        "way": lambda: run.add_way("plain", {"label": "plain"}),
        "models": lambda: run.add_models({"vlm": "LLaVA"}),
    }
    replacing = Path.replace

    def interrupted(path, target):
        monkeypatch.setattr(Path, "replace", replacing)
        with monkeypatch.context() as other:
            other.setattr(os, "getpid", lambda: 0)
            notes[kind]()
        return path.replace(target)

    monkeypatch.setattr(Path, "replace", interrupted)
    notes[kind]()
    again = RunFolder(tmp_path)
    assert again.list == run.list
    assert again.ways() == ({"plain": {"label": "plain"}} if kind == "way" else {})
    assert again.models() == ({"vlm": "LLaVA"} if kind == "models" else {})


def test_two_pictures_of_one_name_are_refused():
    with pytest.raises(PlanError, match="file"):
        check_unique([case(0), replace(case(1), file=case(0).file)])


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_drawing_that_was_killed_goes_on_to_the_same_bytes(tmp_path, ending):
    whole, killed = make_run(tmp_path / "whole", ending=ending), make_run(tmp_path / "killed", ending=ending)
    assert draw(whole, WAY, opened(Noise())) == 6
    with pytest.raises(KeyboardInterrupt):
        draw(killed, WAY, opened(Noise(2)))
    assert len(contents(tmp_path / "killed" / "pictures")) == 2
    assert draw(killed, WAY, opened(Noise())) == 4
    assert contents(tmp_path / "whole" / "pictures") == contents(tmp_path / "killed" / "pictures")
    assert draw(whole, WAY, lambda: pytest.fail("nothing is missing")) == 0


def test_processes_that_share_draw_and_measure_the_union(tmp_path):
    alone, shared = make_run(tmp_path / "alone"), make_run(tmp_path / "shared")
    draw(alone, WAY, opened(Noise()))
    seen: list[list[str]] = []
    for index in range(2):
        part = Shard(index, 2)
        assert draw(shared, WAY, opened(Noise()), part) == 3
        measure(shared, "plain", [mean_stage(seen=seen)], batch=2, shard=part)
    measure(alone, "plain", [mean_stage()])
    assert contents(tmp_path / "alone" / "pictures") == contents(tmp_path / "shared" / "pictures")
    assert shared.findings("plain", "mean") == alone.findings("plain", "mean")
    assert sorted(one for some in seen for one in some) == [str(n) for n in range(6)]
    # Another number of processes finds everything done.
    measure(shared, "plain", [Stage("mean", lambda: pytest.fail("nothing is missing"))], shard=Shard(0, 5))


def test_a_broken_picture_costs_one_row_and_is_named(tmp_path):
    run = make_run(tmp_path)
    run.add_way("plain", {"label": "plain"})
    draw(run, WAY, opened(Noise()))
    run.picture("plain", case(3)).write_bytes(b"\x89PNG broken")
    run.picture("plain", case(5)).unlink()
    second = mean_stage("second", asks=lambda case, found: found.get("mean", 0) >= 0)
    outcome = measure(run, "plain", [mean_stage(), second], batch=4)
    assert list(outcome.broken) == ["a/p_3.png"]
    assert (outcome.measured, outcome.missing) == (4, 1)
    assert set(run.findings("plain", "mean")) == {"0", "1", "2", "4"}
    draw(run, WAY, opened(Noise()))
    run.picture("plain", case(3)).unlink()
    draw(run, WAY, opened(Noise()))
    assert measure(run, "plain", [mean_stage(), second]).measured == 6


def test_a_line_that_was_cut_off_is_found_again(tmp_path):
    run = make_run(tmp_path)
    draw(run, WAY, opened(Noise()))
    measure(run, "plain", [mean_stage()])
    (file,) = (tmp_path / "findings" / "plain").glob("mean.*")
    whole = file.read_text()
    file.write_text(whole[:-9])
    assert len(run.findings("plain", "mean")) == 5
    measure(run, "plain", [mean_stage()])
    assert file.read_text() == whole


def test_a_picture_that_was_replaced_is_looked_at_anew(tmp_path):
    run = make_run(tmp_path)
    run.add_way("plain", {"label": "plain"})
    draw(run, WAY, opened(Noise()))
    stages = [mean_stage(), mean_stage("second", asks=lambda case, found: found["mean"] > 100)]
    measure(run, "plain", stages)
    before = run.findings("plain", "mean")
    # Neither a copy of the folder nor another date makes it another picture.
    copy = RunFolder(Path(shutil.copytree(tmp_path, tmp_path / "copy")))
    assert copy.findings("plain", "mean") == before
    Image.new("RGB", (40, 32), "black").save(run.picture("plain", case(2)))
    run.picture("plain", case(4)).unlink()
    found = run.findings("plain", "mean")
    assert found == {id: value for id, value in before.items() if id != "2"}
    seen: list[list[str]] = []
    measure(run, "plain", [mean_stage(seen=seen), stages[1]])
    assert seen == [["2"]]
    assert run.findings("plain", "mean") == {**before, "2": 0.0}
    assert "2" not in run.findings("plain", "second")


def test_findings_without_a_size_still_count(tmp_path):
    """As earlier versions kept them."""
    run = make_run(tmp_path, 2)
    draw(run, WAY, opened(Noise()))
    run.open_findings("plain", "mean", Shard()).add({"0": 1.0, "1": 2.0})
    measure(run, "plain", [Stage("mean", lambda: pytest.fail("nothing is missing"))])


def test_models_are_loaded_one_at_a_time_and_only_for_what_is_missing(tmp_path):
    run = make_run(tmp_path)
    draw(run, WAY, opened(Noise()))
    alive: list[str] = []

    class Model:
        def __init__(self, name):
            assert alive == []
            alive.append(name)

        def __del__(self):
            alive.clear()

        def __call__(self, items):
            return [1.0] * len(items)

    stages = [Stage(name, lambda name=name: Model(name)) for name in ("one", "two")]
    measure(run, "plain", stages, batch=4)
    assert alive == []
    assert len(run.findings("plain", "two")) == 6


def test_pictures_are_let_go_as_soon_as_they_are_measured(tmp_path):
    run = make_run(tmp_path, 60)
    draw(run, WAY, opened(Noise()))
    held: list[weakref.ref] = []
    most = []

    def look(items):
        held.extend(weakref.ref(item.picture) for item in items)
        most.append(sum(one() is not None for one in held))
        return [0.0] * len(items)

    counts: list[int] = []
    measure(run, "plain", [Stage("look", lambda: look)], batch=4, on_pictures=counts.append)
    assert max(most) <= 8
    assert sum(counts) == 60


def test_settings_that_change_are_told(tmp_path):
    run = make_run(tmp_path)
    run.add_way("plain", {"steps": 20, "label": "plain"})
    draw(run, WAY, opened(Noise()))
    run.add_way("plain", {"steps": 20, "label": "plain"})
    with pytest.raises(PlanError, match="steps was 20 and is now 30"):
        run.add_way("plain", {"steps": 30, "label": "plain"})
    with pytest.raises(PlanError, match="name of a folder"):
        run.add_way("../plain", {})


def test_a_start_that_drew_nothing_binds_nobody(tmp_path):
    """Whether it was refused, stopped before its first picture, or killed while that was written."""
    run = make_run(tmp_path)
    run.add_way("plain", {"steps": 20, "label": "plain"})
    with pytest.raises(KeyboardInterrupt):
        draw(run, WAY, opened(Noise(0)))
    (tmp_path / "pictures" / "plain" / "a" / ".unfinished-0-1.png").touch()
    run.open_findings("plain", "seconds", Shard()).add({"0": {"clock": 1.0}})
    run.add_way("plain", {"steps": 30, "label": "plain"})
    assert run.ways()["plain"]["steps"] == 30
    draw(run, WAY, opened(Noise()))
    with pytest.raises(PlanError, match="steps was 30 and is now 20"):
        run.add_way("plain", {"steps": 20, "label": "plain"})
    # What is measured binds too: findings of pictures that were taken away stand for them.
    measure(run, "plain", [mean_stage()])
    for file in (tmp_path / "pictures").rglob("*.png"):
        file.unlink()
    with pytest.raises(PlanError, match="steps was 30 and is now 20"):
        run.add_way("plain", {"steps": 20, "label": "plain"})


def test_a_precision_that_earlier_versions_did_not_know_is_continued(tmp_path):
    run = make_run(tmp_path)
    for name, before in (("old", ""), ("new", "fp16")):
        draw(run, replace(WAY, name=name), opened(Noise()))
        run.add_way(name, {"label": name, "dtype": before})
    run.add_way("old", {"label": "old", "dtype": "fp32"})
    with pytest.raises(PlanError, match="dtype was fp16 and is now fp32"):
        run.add_way("new", {"label": "new", "dtype": "fp32"})


def test_weights_that_change_are_told_where_both_are_known(tmp_path):
    run = make_run(tmp_path)
    for name in ("before", "now"):
        draw(run, replace(WAY, name=name), opened(Noise()))
    run.add_way("before", {"label": "before"})
    run.add_way("before", {"label": "before", "weights": {"VAE": "a"}})
    run.add_way("now", {"label": "now", "weights": {"VAE": "a", "IFAdapter": "b"}})
    run.add_way("now", {"label": "now", "weights": {"VAE": "a", "LoRAs": "c"}})
    with pytest.raises(PlanError, match="weights of VAE are others than before"):
        run.add_way("now", {"label": "now", "weights": {"VAE": "b", "IFAdapter": "b"}})


def test_findings_of_other_models_are_not_added_to(tmp_path):
    run = make_run(tmp_path)
    assert run.models() == {}
    run.add_models({"detector": "tiny", "clip": "vit"})
    run.add_models({"detector": "tiny", "vlm": "qwen"})
    assert run.models() == {"detector": "tiny", "clip": "vit", "vlm": "qwen"}
    with pytest.raises(PlanError, match="detector was tiny and is now base"):
        run.add_models({"detector": "base"})
    # By name alone two folders called "tiny" are one model; what was measured without a digest stays so.
    run.add_models({"detector": "tiny", "depth": "dpt"}, {"detector": "a", "depth": "b"})
    run.add_models({"detector": "tiny", "depth": "dpt"}, {"detector": "c", "depth": "b"})
    with pytest.raises(PlanError, match="weights of depth are others than before"):
        run.add_models({"depth": "dpt"}, {"depth": "c"})
    assert run.models() == {"detector": "tiny", "clip": "vit", "vlm": "qwen", "depth": "dpt"}


def test_models_are_looked_at_before_they_are_noted(tmp_path):
    run = make_run(tmp_path)
    run.check_models({"detector": "tyni"})
    assert run.models() == {}
    run.add_models({"detector": "tiny"}, {"detector": "a"})
    run.check_models({"detector": "tiny", "clip": "vit"}, {"clip": "b"})
    assert run.models() == {"detector": "tiny"}
    for names, weights in (({"detector": "base"}, {}), ({"detector": "tiny"}, {"detector": "b"})):
        with pytest.raises(PlanError, match="was measured by other models"):
            run.check_models(names, weights)


def test_regions_are_asked_for_by_sentences_that_the_model_has_read():
    instances = (Instance("1", Box(0, 0, 0.5, 1), "a red circle"),)
    world = replace(case(0), layout=Layout(instances, Canvas(64, 64), "a red circle on grey"))
    other = replace(case(0), layout=Layout(instances, Canvas(64, 64), "a red circle, photo"))
    assert WAY.job(world).options["sentences"] == ["a red circle on grey"]
    assert WAY.job(other).options["sentences"] == ["a red circle"]
    large = replace(WAY, size=(128, 96)).job(world)
    assert (large.width, large.height, large.sampling.seed) == (128, 96, 0)


class Benchmark:
    """Scores a picture by its mean, in groups of two."""

    name, title, main, columns, quoted, notes = "ifg", "made up", "score", (), (), ()

    def scored(self, case, found):
        group = "low" if int(case.id) < 2 else "high"
        return Scored({"score": (found["mean"], 1.0), group: (2 * found["mean"], 2.0)})


def test_measures_are_means_over_pictures_with_intervals_over_prompts(tmp_path):
    run = make_run(tmp_path)
    run.add_way("plain", {"label": "plain"})
    run.add_way("empty", {"label": "empty"})
    draw(run, WAY, opened(Noise()))
    stages = [mean_stage()]
    measure(run, "plain", stages)
    (found,) = results(run, Benchmark(), stages)
    means = [run.findings("plain", "mean")[str(n)] for n in range(6)]
    assert found.estimates["score"].value == pytest.approx(np.mean(means))
    assert found.estimates["low"].value == pytest.approx(np.mean(means[:2]))
    # All pictures of a group are of one prompt: nothing varies, however prompts are drawn.
    assert found.estimates["low"].low == found.estimates["low"].high == found.estimates["low"].value
    assert found.estimates["score"].low < np.mean(means) < found.estimates["score"].high
    assert found.seconds == 2.0
    assert found.of_pictures["a/p_3.png"] == means[3]


def test_pictures_of_others_are_found_by_name_whatever_their_kind(tmp_path):
    run = make_run(tmp_path / "run")
    theirs = tmp_path / "theirs"
    (theirs / "a").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(theirs / "a" / "p_1.jpg")
    run.add_way("theirs", {"label": "theirs", "folder": str(theirs)})
    outcome = measure(run, "theirs", [mean_stage()])
    assert (outcome.measured, outcome.missing) == (1, 5)


def test_a_copy_of_a_run_has_pictures_of_its_own(tmp_path):
    run, outside = make_run(tmp_path / "run"), tmp_path / "outside"
    inside = tmp_path / "run" / "real"
    for folder in (inside, outside):
        (folder / "a").mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "a" / "p_1.png")
    run.add_way("real", {"label": "real", "folder": str(inside)})
    run.add_way("theirs", {"label": "theirs", "folder": str(outside)})
    # As earlier versions noted it.
    old = json.dumps({"label": "old", "folder": str(inside)})
    (tmp_path / "run" / "ways" / "old.json").write_text(old)
    measure(run, "real", [mean_stage()])
    shutil.move(tmp_path / "run", tmp_path / "moved")
    moved = RunFolder(tmp_path / "moved")
    assert moved.picture("real", case(1)) == tmp_path / "moved" / "real" / "a" / "p_1.png"
    assert moved.picture("theirs", case(1)) == outside / "a" / "p_1.png"
    assert moved.ways()["old"]["folder"] == str(inside)
    # Named again it is the same, and only others are told, in words of the option that names them.
    moved.add_way("real", {"label": "real", "folder": str(tmp_path / "moved" / "real")})
    with pytest.raises(PlanError, match=r"folder was real and is now .* in --pictures NAME=FOLDER"):
        moved.add_way("real", {"label": "real", "folder": str(outside)})
    shutil.move(tmp_path / "moved", tmp_path / "run")
    run.add_way("old", {"label": "old", "folder": str(inside)})
    assert run.picture("old", case(1)).is_file()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_data_of_another_form_are_refused_in_words(name, tmp_path):
    benchmark = BENCHMARKS[name]
    (tmp_path / "x.json").write_text("[1]")
    (tmp_path / "y.jsonl").write_text("{}\n")
    data = {"coco-mig": tmp_path / "x.json", "layoutsam-eval": tmp_path / "y.jsonl"}.get(name, tmp_path)
    with pytest.raises(PlanError):
        benchmark.read(data)


def test_case_files_are_named_as_official_scorers_read_them(tmp_path):
    entries = {
        str(key): {
            "caption": f"a photo of a red cat and a blue {word} ",
            "segment": [
                {"bbox": [0, 0, 0.5, 0.5], "label": label} for label in ("a red cat", f"a blue {word}")
            ],
            "image_id": "1",
        }
        for key, word in enumerate(("dining table", "dog"))
    }
    file = tmp_path / "mig.json"
    file.write_text(json.dumps(entries))
    found = BENCHMARKS["coco-mig"].read(file)
    for case in found.cases:
        assert case.file.rpartition("_")[2].partition(".")[0] == case.id
    assert [case.group for case in found.cases] == ["L2", "L2"]

    (tmp_path / "color_val.txt").write_text("a red cat\r\na blue dog.\n")
    found = BENCHMARKS["t2i-compbench"].read(tmp_path, pictures=3)
    names = [case.file for case in found.cases]
    assert names[0] == "color/samples/a red cat_000000.png"
    assert names[4] == "color/samples/a blue dog._000004.png"
    assert [case.seed for case in found.cases] == [42, 43, 44] * 2
    assert found.cases[4].facts["questions"] == ["a blue dog?"]
