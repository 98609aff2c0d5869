"""Which part of a benchmark's cases a process takes."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from instance_composer.cli import main
from instance_composer.cli.benchmark import draw, parts, score
from instance_composer.cli.benchmark.parts import add_machine, add_shard, chosen_device, chosen_shard
from instance_composer.evaluation.benchmark import PlanError
from instance_composer.evaluation.harness.run_folder import RunFolder, Shard
from instance_composer.evaluation.scorers.world_models import WorldJudge


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_shard(parser)
    add_machine(parser)
    return parser.parse_args(words)


def test_the_part_is_what_is_asked_for_or_what_the_launcher_says(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert chosen_shard(parsed()) == Shard(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert chosen_shard(parsed()) == Shard(2, 4)
    assert chosen_shard(parsed("--shard", "3/3")) == Shard(2, 3)
    # A number without how many there are is no launcher's.
    monkeypatch.delenv("WORLD_SIZE")
    assert chosen_shard(parsed()) == Shard(0, 1)


def test_a_gpu_computes_in_halves_and_each_process_takes_its_own(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(parts, "best_device", lambda: "cuda")
    monkeypatch.setattr(parts, "usable_device", lambda place: place)
    assert chosen_device(parsed()) == ("cuda", torch.float16)
    assert chosen_device(parsed("--dtype", "bf16")) == ("cuda", torch.bfloat16)
    assert chosen_device(parsed("--device", "cpu")) == ("cpu", torch.float32)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert chosen_device(parsed()) == ("cuda:1", torch.float16)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3"])
def test_parts_that_there_are_not_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        parsed("--shard", text)
    assert "1/4 is needed" in capsys.readouterr().err


def test_parts_are_all_cases_and_none_twice():
    cases = tuple(range(11))
    parts = [Shard(index, 3).of(cases) for index in range(3)]
    assert sorted(one for part in parts for one in part) == list(cases)
    assert {len(part) for part in parts} == {3, 4}


def test_cases_of_somebody_else_are_there_whole_or_not_at_all(tmp_path, monkeypatch):
    assert main(["benchmark", "overlap", "prepare", str(tmp_path / "one"), "--tiny", "--limit", "1"]) == 0
    cases, run = tmp_path / "one" / "cases.jsonl", tmp_path / "two"
    words = ["benchmark", "overlap", "prepare", str(run), "--cases", str(cases)]

    def copy_half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(shutil, "copyfile", copy_half)
        assert main(words) == 130
    assert not list(run.iterdir())
    assert main(words) == 0
    assert (run / "cases.jsonl").read_bytes() == cases.read_bytes()


def prepared(folder: Path, name: str, *words: str) -> RunFolder:
    assert main(["benchmark", name, "prepare", str(folder), *words]) == 0
    return RunFolder(folder)


def scored(name: str, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    score.configure(parser, name)
    return argparse.Namespace(benchmark=name, **vars(parser.parse_args(words)))


def mig_data(folder: Path) -> Path:
    """A prompt in COCO-MIG's form, and a picture of its name."""
    labels = ("a red cat", "a blue dining table")
    entry = {
        "caption": " and ".join(labels),
        "segment": [{"bbox": [0, 0, 0.5, 1], "label": label} for label in labels],
        "image_id": "1",
    }
    (folder / "mig.json").write_text(json.dumps({"0": entry}))
    return folder / "mig.json"


def test_every_true_picture_shows_what_its_own_prompt_asks_for(tmp_path):
    words = ["--tiny", "--limit", "2", "--pictures", "2", "--categories", "color"]
    run = prepared(tmp_path / "run", "t2i-compbench", *words)
    assert len(run.cases) == 4
    assert "4 pictures of color, 2 for each prompt" in run.list.source
    for case in run.cases:
        with Image.open(tmp_path / "run" / "real" / case.file) as picture:
            questions = case.facts["questions"]
            assert WorldJudge().yes([picture] * len(questions), questions) == [1.0] * len(questions), case.id


def test_the_world_s_judge_measures_its_own_scenes_alone(tmp_path, capsys):
    run = prepared(tmp_path / "run", "coco-mig", "--data", str(mig_data(tmp_path)))
    pictures = tmp_path / "mine"
    pictures.mkdir()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(pictures / run.cases[0].file)
    words = ["benchmark", "coco-mig", "score", str(run.folder), "--pictures", f"mine={pictures}"]
    assert main([*words, "--tiny"]) == 2
    assert "reads scenes of that world alone, and" in capsys.readouterr().err
    assert {one.name for one in run.folder.iterdir()} == {"cases.jsonl"}


@pytest.mark.parametrize(
    ("step", "words", "complaint"),
    [
        ("prepare", ["--tiny", "--categories", ","], "--categories: none is named; name at least one"),
        ("score", ["--tiny", "--ways", ","], "--ways: none is named; leave it out for all, or name one of r"),
        ("score", ["--tiny", "--ways", ""], "--ways: none is named"),
    ],
)
def test_lists_without_a_name_are_told(step, words, complaint, tmp_path, capsys):
    if step == "score":
        prepared(tmp_path, "t2i-compbench", "--tiny", "--limit", "1", "--categories", "color")
    assert main(["benchmark", "t2i-compbench", step, str(tmp_path), *words]) == 2
    assert complaint in capsys.readouterr().err


def drawn_about(run: RunFolder, *words: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    draw.configure(parser, "overlap")
    return draw._about(parser.parse_args(["--way", "local", "--device", "cpu", *words]), run.ways_of("local"))


def test_a_way_goes_on_with_the_configuration_and_strength_that_it_began_with(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "_weights", lambda arguments: {})
    run = prepared(tmp_path, "overlap", "--tiny", "--limit", "1")

    def add(*words: str, without: str = "") -> None:
        about = drawn_about(run, *words)
        run.add_way("local", {key: value for key, value in about.items() if key != without})

    add("--config", "folder/a")
    picture = run.picture("local", run.cases[0])
    picture.parent.mkdir(parents=True)
    picture.touch()
    add("--config", "elsewhere/a")
    # The strength that is typed may be that of the default.
    add("--config", "a", "--strength", "1")
    with pytest.raises(PlanError, match=r"strength was 1\.0 and is now 2\.0"):
        add("--config", "a", "--strength", "2")
    with pytest.raises(PlanError, match="config was a and is now b"):
        add("--config", "b")
    with pytest.raises(PlanError, match="config was a and is now nothing"):
        add()
    # Versions that did not note it: nothing is known of what was given.
    picture.unlink()
    add("--strength", "1", without="config")
    picture.touch()
    add("--config", "b")
    with pytest.raises(PlanError, match=r"strength was 1\.0 and is now 0\.5"):
        add("--strength", "0.5")


def test_models_are_noted_with_the_rule_and_the_precision_in_which_they_measure(tmp_path, capsys):
    given = scored("coco-mig", "--detector", "owner/dino", "--sam", "sam.pth", "--device", "cpu")
    assert score._model_names(given, False) == {
        "detector": "owner/dino, by its surest token",
        "sam": "sam.pth",
    }
    assert score._precisions(given) == {}
    run = prepared(tmp_path, "coco-mig", "--data", str(mig_data(tmp_path)))
    assert not score._averages(run, given)
    # Boxes of an earlier version, which noted the detector alone: its rule is kept to, and told.
    pictures = tmp_path / "mine"
    pictures.mkdir()
    Image.new("RGB", (64, 64)).save(pictures / run.cases[0].file)
    run.open_findings("mine", "boxes", Shard()).add({"0": {}})
    run.add_models({"detector": "owner/dino"})
    assert score._averages(run, given)
    words = ["--detector", "owner/dino", "--pictures", f"mine={pictures}", "--device", "cpu"]
    assert main(["benchmark", "coco-mig", "score", str(tmp_path), *words]) == 0
    assert "goes on with the rule of an earlier version" in capsys.readouterr().err
    (tmp_path / "models.json").unlink()
    run.add_models(score._model_names(given, False))
    assert not score._averages(run, given)
    # Of other benchmarks nothing has changed.
    words = ("--detector", "dino", "--vlm", "qwen", "--clip", "clip", "--device", "cpu", "--dtype", "bf16")
    given = scored("ifg", *words)
    assert score._model_names(given, False) == {"detector": "dino", "vlm": "qwen", "clip": "clip"}
    assert score._precisions(given) == {"vlm": "bf16"}
    assert score._precisions(scored("ifg", "--tiny")) == {}
