"""A run that is continued on something else: it follows what it can, and refuses the rest by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_rewards import write_tiny_rewards
from tiny_sdxl import SHALLOW_UNET, write_tiny_ifadapter

from instance_composer.cli import main
from instance_composer.layout import Box, Canvas, Instance, Layout

FEW = ("batch=2", "every_sample=0", "every_log=1", "warm_up=0")


def settings(*more: str) -> list[str]:
    return [word for one in (*FEW, *more) for word in ("--set", one)]


def write_pair(folder: Path, name: str, color: str, caption: str = "a b c") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), color).save(folder / f"{name}.png")
    layout = Layout((Instance("1", Box(0.1, 0.1, 0.9, 0.9), caption),), Canvas(64, 64), caption)
    (folder / f"{name}.json").write_text(layout.to_json())


@pytest.fixture
def run(tiny_model, tmp_path) -> Path:
    """One step of an adapter on two pictures."""
    folder = tmp_path / "begun"
    for name, color in (("one", "red"), ("two", "blue")):
        write_pair(folder / "data", name, color)
    write_tiny_ifadapter(folder / "start.safetensors", unet=SHALLOW_UNET)
    (folder / "layout.json").write_text((folder / "data" / "one.json").read_text())
    assert trained(folder, tiny_model, 1) == 0
    return folder


def trained(folder: Path, model: Path, steps: int, **changes: Path) -> int:
    paths = {"data": folder / "data", "init": folder / "start.safetensors", **changes}
    words = ["train", "ifadapter", str(folder / "run"), "--model", str(model), "--size", "64x64"]
    words += [] if "examples" in changes else ["--examples", str(folder / "layout.json")]
    for name, path in paths.items():
        words += [f"--{name}", str(path)]
    return main([*words, *settings(f"steps={steps}")])


def second_loss(folder: Path) -> float:
    return json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[1])["loss"]


@pytest.mark.slow
def test_captions_and_pictures_are_followed_and_all_else_is_refused(
    run, tiny_model, tmp_path, caplog, capsys
):
    """Both the edited caption and the new picture are in the very next step; only the picture is encoded."""
    caplog.set_level("INFO")
    losses = []
    for caption, color in (("a b c", "red"), ("d e f", "red"), ("a b c", "green")):
        copy = tmp_path / f"{caption[0]}-{color}"
        shutil.copytree(run, copy)
        write_pair(copy / "data", "one", color, caption)
        caplog.clear()
        assert trained(copy, tiny_model, 2) == 0
        losses.append(second_loss(copy))
        assert ("1 of 2 pictures have no latents yet" in caplog.text) == (color == "green")
    assert len(set(losses)) == 3
    # What decides no number goes on, and is said.
    caplog.clear()
    assert trained(copy, tiny_model, 2, examples=copy / "data" / "one.json") == 0
    assert "options have changed since the last start: examples was" in caplog.text
    what_cannot_be_followed_is_refused(run, tiny_model, tmp_path, capsys)


def what_cannot_be_followed_is_refused(run, tiny_model, tmp_path, capsys):
    """Another folder, another UNet, another start; and the checkpoint stays as it was."""
    before = (run / "run" / "checkpoint.pt").read_bytes()
    for name in ("one", "three"):
        write_pair(tmp_path / "other", name, "red")
    latents = {file: file.stat().st_mtime_ns for file in (run / "run" / "latents").rglob("*/*")}
    assert trained(run, tiny_model, 2, data=tmp_path / "other") == 2
    assert "pictures was" in capsys.readouterr().err
    # Before anything of it is encoded, which can take days.
    now = (run / "run" / "latents").rglob("64x64-*/*")
    assert {file: file.stat().st_mtime_ns for file in now}.items() <= latents.items()
    shutil.copytree(tiny_model, tmp_path / "model")
    change_unet(tmp_path / "model")
    assert trained(run, tmp_path / "model", 2) == 2
    assert "what is not trained has other weights: unet was" in capsys.readouterr().err
    write_tiny_ifadapter(run / "start.safetensors", 2, SHALLOW_UNET)
    assert trained(run, tiny_model, 2) == 2
    assert "another start: weights to train from: adapter was" in capsys.readouterr().err
    assert (run / "run" / "checkpoint.pt").read_bytes() == before


def change_unet(model: Path) -> None:
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"][0, 0, 0, 0] += 0.01
    save_file(weights, file, {"format": "pt"})


@pytest.mark.slow
def test_other_prompts_and_another_unet_of_feedback_are_refused(tiny_model, tmp_path, capsys):
    """The whole UNet is tuned, and its weights come from the checkpoint: another one would not be seen."""
    rewards, prompts = write_tiny_rewards(tmp_path / "rewards"), tmp_path / "prompts.txt"
    prompts.write_text("a red circle\n")
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    words = ["train", "feedback", str(tmp_path / "run"), "--model", str(model), "--rewards", str(rewards)]
    words += ["--prompts", str(prompts), "--size", "64x64", *settings("batch=1", "accumulate=1")]
    assert main([*words, "--set", "steps=1"]) == 0
    prompts.write_text("a green square\n")
    assert main([*words, "--set", "steps=2"]) == 2
    assert "prompts was '1 of " in capsys.readouterr().err
    prompts.write_text("a red circle\n")
    change_unet(model)
    assert main([*words, "--set", "steps=2"]) == 2
    assert "another start: weights to train from: unet was" in capsys.readouterr().err


@pytest.mark.slow
def test_exchanged_pairs_and_another_start_of_a_reward_are_refused(tmp_path, capsys):
    """With nothing frozen too, where no frozen weight tells one start from another."""
    rewards, data = write_tiny_rewards(tmp_path / "rewards"), tmp_path / "pairs.jsonl"
    for name, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (32, 32), color).save(tmp_path / f"{name}.png")

    def write(better: str, worse: str) -> None:
        pair = {"prompt": "a red circle", "better": better, "worse": worse, "aspect": "attribute"}
        data.write_text(f"{json.dumps(pair)}\n")

    words = ["train", "reward", str(tmp_path / "run"), "--data", str(data), "--validation", str(data)]
    words += ["--aspect", "attribute", "--frozen", "0", *settings("batch=1")]
    start = ["--init", str(rewards / "attribute.safetensors")]
    write("a.png", "b.png")
    assert main([*words, *start, "--set", "steps=1"]) == 0
    write("b.png", "a.png")
    assert main([*words, *start, "--set", "steps=2"]) == 2
    assert "comparisons" in capsys.readouterr().err
    write("a.png", "b.png")
    Image.effect_noise((32, 32), 50).convert("RGB").save(tmp_path / "a.png")
    assert main([*words, *start, "--set", "steps=2"]) == 2, "another picture under the name of one"
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    other = ["--init", str(rewards / "spatial.safetensors")]
    assert main([*words, *other, "--set", "steps=2"]) == 2
    assert "another start: weights to train from: model was" in capsys.readouterr().err
    assert main([*words, *start, "--set", "steps=2"]) == 0
