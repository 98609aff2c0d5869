"""`instance-composer train`, from words to files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_rewards import write_tiny_rewards
from tiny_sdxl import write_tiny_sdxl

from instance_composer.cli import main
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.sdxl.files import open_unet
from instance_composer.training.data.latents import LatentSet
from instance_composer.training.demo_model import rewards
from instance_composer.training.demo_model.stage_names import REWARD_STAGE_NAMES
from instance_composer.training.engine.checkpoint import read_run

EXAMPLE = (
    '{"version": 1, "canvas": {"width": 32, "height": 32}, "instances": '
    '[{"id": "1", "caption": "a", "box": [0, 0, 0.5, 0.5]}]}\n'
)


def test_settings_are_those_of_every_stage_of_the_rewards(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(rewards, "train_world_rewards", lambda folder, tables, **_: given.update(tables))
    assert main(["train", "reward", str(tmp_path), "--set", "steps=5", "--dry-run"]) == 0
    assert given == {name: {"steps": 5} for name in REWARD_STAGE_NAMES}


@pytest.mark.slow
def test_an_adapter_is_trained_continued_and_readable(tiny_model, tmp_path, capsys):
    command = ["train", "ifadapter", str(tmp_path / "run"), "--model", str(tiny_model), "--size", "64x64"]
    command += [
        "--small",
        "--pictures",
        "4",
        "--checked",
        "2",
        "--set",
        "batch=2",
        "--set",
        "every_sample=0",
        "--set",
        "every_log=1",
    ]
    assert main([*command, "--dry-run"]) == 0
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""
    (tmp_path / "layouts.jsonl").write_text(EXAMPLE)
    command += ["--examples", str(tmp_path / "layouts.jsonl"), "--licence", "mit"]
    command += ["--held-out", "1", "--set", "every_validation=1"]
    assert main([*command, "--set", "steps=1"]) == 0
    assert main([*command, "--set", "steps=2"]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert all("validation" in json.loads(line) for line in lines)
    assert read_run(tmp_path / "run")["task"]["held_out"] == 1
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "license: mit" in card
    assert "| steps | 2 of 2 samples |" in card
    assert "lowest loss on what is held out" in card
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert read_run(tmp_path / "run")["task"]["sets"] == [[3, 64, 64], [2, 64, 64]]
    checked = LatentSet.load(tmp_path / "run" / "latents-64x64-checked")
    assert len(checked) == 2
    layouts = [checked.layout(number) for number in range(2)]
    assert all(" checked " in one.caption for layout in layouts for one in layout.active)
    path = tmp_path / "run" / "model" / "ifadapter.safetensors"
    assert str(path) in capsys.readouterr().out
    assert IFAdapter.load(path).config.queries == 4
    assert main([*command, "--set", "batch=3"]) == 2
    assert "batch was 2 and is now 3" in capsys.readouterr().err
    again = ["train", "ifadapter", str(tmp_path / "run"), "--settings", str(tmp_path / "run" / "run.toml")]
    assert main([*again, "--set", "steps=3"]) == 0
    assert read_run(tmp_path / "run")["step"] == 3


@pytest.mark.slow
def test_a_unet_is_tuned_continued_and_becomes_a_lora(tmp_path, capsys):
    """Of as many residual blocks as SDXL has, which `convert` asks for."""
    model = write_tiny_sdxl(tmp_path / "sdxl")
    prompts, rewards = tmp_path / "prompts.txt", write_tiny_rewards(tmp_path / "rewards")
    prompts.write_text("a red circle\n\na b c\n")
    run, lora = tmp_path / "run", tmp_path / "lora.safetensors"
    command = ["train", "feedback", str(run), "--model", str(model), "--rewards", str(rewards)]
    command += ["--prompts", str(prompts), "--size", "64x64"]
    # Gradients of the random UNet are too small for the usual epsilon of 1e-8.
    settings = ("batch=2", "accumulate=1", "every_log=1", "every_sample=0", "learning_rate=1e-3")
    for setting in (*settings, "epsilon=1e-15"):
        command += ["--set", setting]
    assert main([*command, "--set", "steps=1"]) == 0
    assert main([*command, "--set", "steps=2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "model" / "unet")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"attribute", "spatial", "non-spatial"} <= lines[0].keys()

    convert = ["convert", "lora", str(lora), "--itercomp", str(run / "model"), "--base", str(model)]
    assert main([*convert, "--rank", "4096", "--full", "--dtype", "fp32"]) == 0
    state, tuned, base = load_file(lora), open_unet(run / "model"), open_unet(model)
    layer = "middle_block.1.transformer_blocks.0.attn2.to_k"
    key = f"lora_unet_{layer.replace('.', '_')}"
    up, down = state[f"{key}.lora_up.weight"], state[f"{key}.lora_down.weight"]
    delta = tuned.weights.read(f"{layer}.weight") - base.weights.read(f"{layer}.weight")
    assert delta.abs().max() > 1e-4
    scale = float(state[f"{key}.alpha"]) / len(down)
    torch.testing.assert_close(scale * up @ down, delta, atol=1e-7, rtol=1e-4)


@pytest.mark.slow
def test_a_captioner_is_trained_continued_and_measured(tiny_model, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["train", "captioner", str(run), "--width", "16", "--layers", "1"]
    command += ["--size", "64", "--side", "32", "--patch", "8"]
    command += ["--model", str(tiny_model), "--decoded", "3", "--drawn", "0"]
    for setting in ("batch=2", "every_log=1", "every_sample=0"):
        command += ["--set", setting]
    assert main([*command, "--set", "steps=1"]) == 0
    assert main([*command, "--set", "steps=2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "model")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"caption", "patches"} <= lines[0].keys()
    found = json.loads((run / "model" / "validation.json").read_text())
    assert {"held-out looks", "train looks"} == found.keys()
    assert (run / "samples" / "000002.txt").read_text().count("\n") == 8
    assert main([*command, "--decoded", "4"]) == 2
    assert "was started with another model or data" in capsys.readouterr().err
    command[2] = str(tmp_path / "other")
    assert main([*command, "--drawn", "1"]) == 2
    assert "the judge of Shapes World can read none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["base", "{}", "--stage", "base-scenes", "--set", "step=5"], "unknown settings: step"),
        (["base", "{}", "--stage", "base-scenes", "--set", "steps"], "write NAME=VALUE"),
        (["base", "{}", "--stage", "base-scenes"], "train the stage autoencoder first"),
        (["base", "{}", "--stage", "autoencoder"], "train the stage crops first"),
        (["base", "{}", "--stage", "base-mixed"], "train the stage base-scenes first"),
        (["ifadapter", "{}", "--model", "{}/none"], "there is no model at"),
        (["ifadapter", "{}", "--model", "{}", "--region-weight", "-1"], "0 or more is allowed"),
        (["ifadapter", "{}", "--model", "{}", "--data", "{}", "--checked", "8"], "are Shapes World's"),
        (["ifadapter", "{}", "--model", "{}", "--checked", "-1"], "checked pictures is -1; 0 or more"),
        (["base", "{}", "--stage", "base-final"], "train the stage base-mixed first"),
        (["base", "{}", "--stage", "base-checked"], "train the stage base-final first"),
        (["feedback", "{}", "--model", "{}/none", "--rewards", "{}"], "has no reward models"),
        (["captioner", "{}", "--model", "{}/none"], "there is no model at"),
        (
            ["itercomp", "{}", "--rewards", "{}", "--stage", "rank", "--iterations", "3"],
            "is for the whole loop",
        ),
        (["captioner", "{}", "--patch", "24", "--side", "100"], "the side must be a multiple of the patch"),
        (["captioner", "{}", "--size", "32"], "at least 64 and a multiple of 8"),
        (["captioner", "{}", "--size", "132"], "132 pixels in 8 x 8 patches"),
        (["captioner", "{}", "--width", "30"], "multiple of 4"),
        (["captioner", "{}", "--layers", "0"], "layers is 0; it must be at least 1"),
        (["captioner", "{}", "--drawn", "-1"], "drawn is -1; it must be at least 0"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(words, complaint, tmp_path, capsys):
    assert main(["train", *(word.format(tmp_path) for word in words)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_settings_file_has_a_table_for_each_stage(tmp_path, capsys):
    (tmp_path / "settings.toml").write_text("[base-scenes]\nsteps = 0\n")
    words = [
        "train",
        "base",
        str(tmp_path),
        "--stage",
        "base-scenes",
        "--settings",
        str(tmp_path / "settings.toml"),
    ]
    assert main(words) == 2
    assert "steps is 0" in capsys.readouterr().err
