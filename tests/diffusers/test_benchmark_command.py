"""`instance-composer benchmark` from the data to the report, on a small demo model and Shapes World."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file
from two_processes import run_in_two

from instance_composer.cli import __main__ as command_line
from instance_composer.cli import main
from instance_composer.demo import FOLDER
from instance_composer.models.weights import save_weights

NAMES = ("ifg", "coco-mig", "t2i-compbench", "layoutsam-eval", "overlap")


@pytest.fixture(scope="module")
def demo(fresh_demo):
    return fresh_demo


def draw(name, run, demo, *more):
    words = ["benchmark", name, "draw", str(run), "--model", str(demo), "--steps", "1", "--cfg", "2"]
    return main([*words, "--device", "cpu", *more])


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_from_data_to_report(name, demo, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["benchmark", name, "prepare", str(run), "--tiny", "--limit", "2"]) == 0
    with_boxes = name != "t2i-compbench"
    for way in ("plain", "ifadapter") if with_boxes else ("plain",):
        adapter = ["--adapter", str(demo / "ifadapter.safetensors")] if way == "ifadapter" else []
        assert draw(name, run, demo, "--way", way, *adapter) == 0, capsys.readouterr().err
    if name == "ifg":
        lora = str(FOLDER / "composition_lora.safetensors")
        assert draw(name, run, demo, "--label", "with-lora", "--lora", lora) == 0, capsys.readouterr().err
        guided = ["--way", "densediffusion"], ["--way", "local-boxes", "--strength", "2"]
        assert all(draw(name, run, demo, *words) == 0 for words in guided), capsys.readouterr().err
    assert main(["benchmark", name, "score", str(run), "--tiny"]) == 0
    assert main(["benchmark", name, "report", str(run), "--official"]) == 0, capsys.readouterr().err
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "| real |" in report
    assert "| no control |" in report
    assert ("| IFAdapter |" in report) == with_boxes
    assert "compare with no published row" in report
    assert "Measured by the judge of Shapes World" in report
    assert ("| shapes there |" in report) == (name in ("ifg", "overlap"))
    assert "CLIP score |" not in report
    # Of the judge's own scenes it says what is true; a covered thing may read otherwise.
    # What stands in for the official detector is told.
    assert ("UniDet is in no package" in report) == (name == "t2i-compbench")
    assert ("| SR_E | SR_R |" in report) == (name == "overlap")
    assert ("| with-lora (no control) |" in report) == (name == "ifg")
    assert (run / "report.svg").is_file()
    assert (run / "report-real.jpg").is_file()
    assert (run / "report-ways.jpg").is_file()
    values = json.loads((run / "report.json").read_text())
    assert values["plain"]["unscored"] == []
    main_measure = next(iter(values["real"]["measures"].values()))
    # The judge reads real renders nearly without error, and pictures of a fresh model as noise.
    assert main_measure[0] > 0.5
    assert any((run / "official").rglob("*.json")) == (name not in ("ifg", "overlap"))


def test_processes_of_a_launcher_draw_the_union(demo, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for run in (alone, shared):
        assert main(["benchmark", "overlap", "prepare", str(run), "--tiny", "--limit", "3"]) == 0
    assert draw("overlap", alone, demo) == 0
    words = ["benchmark", "overlap", "draw", str(shared), "--model", str(demo), "--device", "cpu"]
    run_in_two(command_line, *words, "--steps", "1", "--cfg", "2")
    places = [run / "pictures" / "plain" for run in (alone, shared)]
    pictures = [
        {file.relative_to(place): file.read_bytes() for file in place.rglob("*.png")} for place in places
    ]
    assert len(pictures[0]) == 3
    assert pictures[0] == pictures[1]
    parts = {file.name for file in (tmp_path / "shared" / "findings" / "plain").iterdir()}
    assert parts == {"seconds.1-of-2.jsonl", "seconds.2-of-2.jsonl"}


def test_what_cannot_be_done_is_told(demo, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["benchmark", "ifg", "prepare", str(run), "--data", str(tmp_path / "none")]) == 2
    assert "annotate" in capsys.readouterr().err
    assert main(["benchmark", "ifg", "draw", str(run)]) == 2
    assert "prepare" in capsys.readouterr().err
    assert main(["benchmark", "t2i-compbench", "prepare", str(run), "--tiny", "--limit", "1"]) == 0
    assert main(["benchmark", "t2i-compbench", "prepare", str(run), "--tiny"]) == 2
    assert "there already" in capsys.readouterr().err
    assert main(["benchmark", "ifg", "score", str(run), "--tiny"]) == 2
    assert "not of ifg" in capsys.readouterr().err
    assert draw("t2i-compbench", run, demo, "--way", "ifadapter") == 2
    assert "needs boxes" in capsys.readouterr().err
    assert draw("t2i-compbench", run, demo, "--strength", "2") == 2
    assert "no guidance" in capsys.readouterr().err
    assert main(["benchmark", "t2i-compbench", "draw", str(run), "--way", "gligen"]) == 2
    assert "GLIGEN's own model" in capsys.readouterr().err
    assert draw("t2i-compbench", run, demo, "--way", "couple") == 2
    assert "--comfyui" in capsys.readouterr().err
    assert main(["benchmark", "t2i-compbench", "report", str(run)]) == 2
    assert "score" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["benchmark", "t2i-compbench", "draw", str(run), "--shard", "3/2"])


def test_a_first_mistake_does_not_take_the_name(demo, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["benchmark", "overlap", "prepare", str(run), "--tiny", "--limit", "1"]) == 0
    assert draw("overlap", run, demo, "--way", "ifadapter") == 2
    assert "--way ifadapter draws with an IFAdapter; name its file with --adapter" in capsys.readouterr().err
    assert not (run / "ways").exists()
    with_adapter = ("--way", "ifadapter", "--adapter", str(demo / "ifadapter.safetensors"))
    assert draw("overlap", run, demo, *with_adapter, "--size", "60x64") == 2
    assert "name a --size WxH in steps of 8, such as --size 64x64" in capsys.readouterr().err
    assert (run / "ways" / "ifadapter.json").exists()
    assert draw("overlap", run, demo, *with_adapter, "--size", "64x64") == 0, capsys.readouterr().err
    about = json.loads((run / "ways" / "ifadapter.json").read_text())
    assert (about["size"], about["dtype"]) == ([64, 64], "fp32")
    assert draw("overlap", run, demo, *with_adapter) == 2
    assert "size was [64, 64] and is now []" in capsys.readouterr().err
    assert draw("overlap", run, demo, *with_adapter, "--size", "64x64", "--dtype", "bf16") == 2
    assert "dtype was fp32 and is now bf16" in capsys.readouterr().err
    assert draw("overlap", run, demo, *with_adapter, "--size", "64x64", "--dtype", "fp32") == 0


def test_options_that_would_do_nothing_are_told(demo, tmp_path, capsys):
    run, other = tmp_path / "run", tmp_path / "other"
    name = "t2i-compbench"
    assert main(["benchmark", name, "prepare", str(run), "--tiny", "--limit", "1"]) == 0
    for words, given in (
        (("--limit", "1"), "--limit"),
        (("--categories", "color"), "--categories"),
        (("--limit", "1", "--pictures", "2"), "--limit and --pictures"),
    ):
        words = ("benchmark", name, "prepare", str(other), "--cases", str(run / "cases.jsonl"), *words)
        assert main([*words]) == 2
        assert f"--cases are taken as they were frozen, all of them; leave {given} out" in (
            capsys.readouterr().err
        )
        assert not other.exists()
    for way in ("plain", "local"):
        adapter = ("--adapter", str(demo / "ifadapter.safetensors"))
        assert draw(name, run, demo, "--way", way, *adapter) == 2
        assert f"--way {way} draws without an IFAdapter" in capsys.readouterr().err
    assert draw(name, run, demo, "--packs", str(tmp_path)) == 2
    assert "--packs is for --comfyui" in capsys.readouterr().err
    assert draw(name, run, demo, "--comfyui", str(tmp_path)) == 2
    assert "leave --device and --dtype out" in capsys.readouterr().err
    assert not (run / "ways").exists()
    # A way that an earlier version let have an adapter, which did nothing, goes on without.
    assert draw(name, run, demo) == 0
    file = run / "ways" / "plain.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"adapter": "x.safetensors"}))
    assert draw(name, run, demo) == 0, capsys.readouterr().err


def test_a_copied_run_reads_its_own_pictures(tmp_path, capsys):
    run, copied = tmp_path / "run", tmp_path / "copy"
    assert main(["benchmark", "overlap", "prepare", str(run), "--tiny", "--limit", "1"]) == 0
    assert main(["benchmark", "overlap", "score", str(run), "--tiny"]) == 0
    shutil.copytree(run, copied)
    shutil.rmtree(run)
    shutil.rmtree(copied / "findings")
    assert main(["benchmark", "overlap", "score", str(copied), "--tiny"]) == 0, capsys.readouterr().err
    assert "real: 1 measured, 0 not there" in capsys.readouterr().out.splitlines()[-1]


def test_pictures_by_other_weights_of_the_same_name_are_not_added_to(demo, tmp_path, capsys):
    run, other = tmp_path / "run", tmp_path / "other" / demo.name
    assert main(["benchmark", "overlap", "prepare", str(run), "--tiny", "--limit", "1"]) == 0
    lora = tmp_path / "tuned.safetensors"
    lora.write_bytes((FOLDER / "composition_lora.safetensors").read_bytes())
    with_lora = ("--label", "tuned", "--lora", str(lora))
    with_adapter = ("--way", "ifadapter", "--adapter", str(demo / "ifadapter.safetensors"))
    for words in ((), with_lora, with_adapter):
        assert draw("overlap", run, demo, *words) == 0, capsys.readouterr().err
    shutil.copytree(demo, other)
    assert draw("overlap", run, other) == 0
    for file in ("unet/diffusion_pytorch_model.safetensors", "ifadapter.safetensors"):
        state = load_file(other / file)
        save_weights({name: value * 1.01 for name, value in state.items()}, other / file)
    assert draw("overlap", run, other) == 2
    said = capsys.readouterr().err
    assert "plain was drawn otherwise: weights of UNet or transformer are others than before" in said
    assert draw("overlap", run, demo, *with_adapter[:3], str(other / "ifadapter.safetensors")) == 2
    assert "weights of IFAdapter are others" in capsys.readouterr().err
    save_weights({name: value * 1.01 for name, value in load_file(lora).items()}, lora)
    assert draw("overlap", run, demo, *with_lora) == 2
    assert "weights of LoRAs are others" in capsys.readouterr().err
    # A way of a version that did not note them goes on.
    file = run / "ways" / "plain.json"
    about = json.loads(file.read_text())
    del about["weights"]
    file.write_text(json.dumps(about))
    assert draw("overlap", run, other) == 0
    assert draw("overlap", run, demo, "--label", "none", "--lora", str(tmp_path / "none.safetensors")) == 2
    assert "--lora: there is nothing at" in capsys.readouterr().err
    assert not (run / "ways" / "none.json").exists()


def test_somebody_elses_cases_are_taken_as_they_were_frozen(tmp_path, capsys):
    assert main(["benchmark", "overlap", "prepare", str(tmp_path / "one"), "--tiny", "--limit", "1"]) == 0
    first = capsys.readouterr().out.rpartition("checksum ")[2]
    cases = str(tmp_path / "one" / "cases.jsonl")
    assert main(["benchmark", "overlap", "prepare", str(tmp_path / "two"), "--cases", cases]) == 0
    assert capsys.readouterr().out.rpartition("checksum ")[2] == first
    assert main(["benchmark", "ifg", "prepare", str(tmp_path / "three"), "--cases", cases]) == 2
    assert "not of ifg" in capsys.readouterr().err
