"""Scripts that keep what they measured: never of another model, seed or number of steps than is asked for."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import pytest
from comfyui_location import REPOSITORY
from safetensors.torch import load_file
from tiny_rewards import write_tiny_rewards
from tiny_sdxl import SHALLOW_UNET, write_tiny_sdxl

from instance_composer.demo import COMPOSITION_LORA, FOLDER
from instance_composer.models.weights import save_weights
from instance_composer.training.itercomp import feedback_run, feedback_task

sys.path.append(str(REPOSITORY / "scripts"))

import feedback_options
import ranked_pictures
from made_with import check_made_with

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def called(monkeypatch, capsys):
    """What a script says, by its words."""

    def call(script, *words):
        monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, words)])
        assert script.main() == 0
        return capsys.readouterr().out

    return call


def row(table, name, aspect="attribute"):
    """The numbers of an option in an aspect: fulfilled, less base, less the first, distance."""
    found = next(line for line in table.splitlines() if line.startswith(f"| {name} | {aspect} "))
    return [cell.strip().partition(" ")[0] for cell in found.split("|")[3:-1]]


def change(file):
    """Train on: other weights under the same name."""
    save_weights({name: 1.3 * value for name, value in load_file(file).items()}, file)


def test_what_is_tuned_elsewhere_is_measured_on_the_prompts_of_a_seed(called, tmp_path):
    words = ["--prompts", 2, "--steps", 1, "--tuned", f"same={FOLDER / 'unet'}"]
    words += ["--tuned", f"composed={FOLDER / COMPOSITION_LORA}"]
    said = called(feedback_options, tmp_path, *words, "--seed", 5)
    assert "2 held-out prompts of seed 5, 1 sampling steps, guidance 3." in said
    assert said.strip() == (tmp_path / "options.md").read_text().strip()
    assert row(said, "same") == [row(said, "base")[0], "0.000", "", "0.000"]
    assert row(said, "composed")[1] == row(said, "composed")[2]
    assert float(row(said, "composed")[3]) > 0
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.npz")}
    assert len(kept) == 3
    assert called(feedback_options, tmp_path, *words, "--seed", 5) == said
    assert kept == {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.npz")}
    assert "of seed 6" in called(feedback_options, tmp_path, *words[:6], "--seed", 6)
    assert len(list(tmp_path.glob("*.npz"))) == 5


def test_what_is_tuned_again_and_another_model_are_measured_anew(called, tiny_model, tmp_path):
    tuned, other = tmp_path / "unet", write_tiny_sdxl(tmp_path / "other", 1, SHALLOW_UNET)
    shutil.copytree(tiny_model / "unet", tuned)
    words = ["--prompts", 1, "--steps", 1, "--tuned", f"it1={tuned}"]

    def counts():
        return [len(list((tmp_path / "run").glob(f"measured-{name}-*"))) for name in ("base", "it1")]

    same = called(feedback_options, tmp_path / "run", *words, "--model", tiny_model)
    assert row(same, "it1")[3] == "0.000"
    change(tuned / WEIGHTS)
    trained = called(feedback_options, tmp_path / "run", *words, "--model", tiny_model)
    assert float(row(trained, "it1")[3]) > 0
    assert counts() == [1, 2]
    # The base is what this model draws, not what the one before drew.
    called(feedback_options, tmp_path / "run", *words, "--model", other)
    assert counts() == [2, 3]


@pytest.mark.slow
def test_a_number_of_tuning_steps_is_that_of_the_model_measured(
    called, tiny_model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(feedback_options, "SIDE", 64)
    quick = replace(feedback_options.FEEDBACK_SETTINGS, batch=1)
    monkeypatch.setattr(feedback_options, "FEEDBACK_SETTINGS", quick)
    monkeypatch.setattr(feedback_run, "_WORLD_PROMPTS", 8)
    monkeypatch.setattr(feedback_task, "_EXAMPLES", 1)
    run, rewards = tmp_path / "run", write_tiny_rewards(tmp_path / "rewards")
    words = [run, "--model", tiny_model, "--rewards", rewards, "--prompts", 1, "--steps", 1]
    words += ["--only", "published"]
    for steps in (2, 1):
        assert f"{steps} steps of tuning" in called(feedback_options, *words, "--tuning-steps", steps)
    assert sorted(file.name for file in run.iterdir() if file.is_dir()) == ["published-1", "published-2"]
    once, twice = (load_file(run / f"published-{n}" / "model" / "unet" / WEIGHTS) for n in (1, 2))
    assert any(not value.equal(twice[name]) for name, value in once.items())
    assert len(list(run.glob("measured-published-*"))) == 2
    words[2] = write_tiny_sdxl(tmp_path / "other", 1, SHALLOW_UNET)
    with pytest.raises(SystemExit):
        called(feedback_options, *words, "--tuning-steps", 2)
    assert "this run was started with another" in capsys.readouterr().err


def test_ranked_pictures_are_all_of_one_model_and_as_many_steps(called, tiny_model, tmp_path):
    words = [tmp_path / "ranked", "--model", tiny_model, "--prompts", 1]
    called(ranked_pictures, *words, "--steps", 1)
    drawn = {file: file.read_bytes() for file in (tmp_path / "ranked" / "pictures").iterdir()}
    assert len(drawn) == 6
    called(ranked_pictures, *words, "--steps", 1)
    with pytest.raises(SystemExit, match="steps was 1 and is now 2"):
        called(ranked_pictures, *words, "--steps", 2)
    words[2] = write_tiny_sdxl(tmp_path / "other", 1, SHALLOW_UNET)
    with pytest.raises(SystemExit, match="model was"):
        called(ranked_pictures, *words, "--steps", 1)
    assert drawn == {file: file.read_bytes() for file in (tmp_path / "ranked" / "pictures").iterdir()}


def test_rows_without_a_note_go_on_and_none_begin_anew(tmp_path):
    note = tmp_path / "rows.made-with.json"
    check_made_with(note, {"since": 0.3}, is_begun=True)
    assert not note.exists()
    check_made_with(note, {"since": 0.3, "size": (1, 2)}, is_begun=False)
    check_made_with(note, {"since": 0.3, "size": (1, 2)}, is_begun=True)
    with pytest.raises(SystemExit, match=r"since was 0\.3 and is now 0\.5\. Name another place"):
        check_made_with(note, {"since": 0.5}, is_begun=True)
    check_made_with(note, {"since": 0.5}, is_begun=False)
    check_made_with(note, {"since": 0.5}, is_begun=True)
