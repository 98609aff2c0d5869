"""Options of feedback learning: what each changes, alone and in a whole run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_rewards import write_tiny_rewards
from training_tasks import FIRST, settings, tiny_aspect_rewards

from instance_composer.hosts.diffusers_sdxl import load_loras, load_sdxl
from instance_composer.training.comat.lora import add_lora
from instance_composer.training.data.errors import SourceError
from instance_composer.training.engine.checkpoint import ResumeError
from instance_composer.training.engine.order import generator_at
from instance_composer.training.engine.settings import SettingsError
from instance_composer.training.itercomp.feedback_objective import FeedbackForm, FeedbackObjective
from instance_composer.training.itercomp.feedback_options import FeedbackRun
from instance_composer.training.itercomp.feedback_run import train_feedback
from instance_composer.training.itercomp.feedback_task import LORA, FeedbackTask


@pytest.fixture
def report(pipeline):
    """What the objective says of the same noise with a form."""

    def judged(form: FeedbackForm | None = None) -> dict[str, float]:
        rewards = tiny_aspect_rewards()
        task = FeedbackTask(
            pipeline, rewards, ["a red circle"], (64, 64), FeedbackObjective(pipeline, rewards, form)
        )
        with torch.no_grad():
            found = task.objective(task.batch(FIRST, 1, 0), generator_at(FIRST, 0))
        return {name: value.item() for name, value in found.items()}

    return judged


def test_weights_and_the_cap_say_what_counts_of_a_reward(report):
    plain = report()
    lacking = {aspect: 2 - plain[aspect] for aspect in ("attribute", "spatial")}
    assert plain["loss"] == pytest.approx(1e-3 * sum(lacking.values()), rel=1e-5)
    weighed = report(FeedbackForm(weights={"attribute": 3.0, "spatial": 0.0}))
    assert weighed["loss"] == pytest.approx(3e-3 * lacking["attribute"], rel=1e-5)
    higher = report(FeedbackForm(cap=5.0))
    assert higher["loss"] == pytest.approx(plain["loss"] + 2 * 3e-3, rel=1e-5)
    assert higher["attribute"] == plain["attribute"]


def test_guidance_draws_other_pictures_and_1_is_none(report):
    assert report(FeedbackForm(guidance=1.0)) == report()
    assert report(FeedbackForm(guidance=4.0))["attribute"] != report()["attribute"]


def test_the_distance_is_from_the_model_without_its_lora(pipeline):
    add_lora(pipeline.unet, 2)
    rewards = tiny_aspect_rewards()
    objective = FeedbackObjective(pipeline, rewards, FeedbackForm(distance=1.0), lora=True)
    task = FeedbackTask(pipeline, rewards, ["a red circle"], (64, 64), objective)

    def report() -> dict[str, torch.Tensor]:
        return objective(task.batch(FIRST, 1, 0), generator_at(FIRST, 0))

    fresh = report()
    assert fresh["distance"].item() == 0.0
    fresh["loss"].backward()
    for name, parameter in objective.named_parameters():
        assert (parameter.grad is not None) == (".lora_" in name), name
        if ".lora_B." in name:
            parameter.data += torch.randn_like(parameter)
    learned = report()
    assert learned["distance"].item() > 0.0
    aspects = ("attribute", "spatial")
    lacking = sum(2 - learned[aspect].item() for aspect in aspects) + learned["distance"].item()
    assert learned["loss"].item() == pytest.approx(1e-3 * lacking, rel=1e-5)


@pytest.fixture
def run(tiny_model, tmp_path) -> FeedbackRun:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red circle\na blue square\n")
    rewards = write_tiny_rewards(tmp_path / "rewards")
    return FeedbackRun(model=tiny_model, rewards=rewards, prompts=prompts, size=(64, 64))


# The rate is large enough for two steps to show.
BRIEF = settings(steps=2, batch=1, every_log=1, learning_rate=0.1)


def metrics(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_lora_with_a_discriminator_is_tuned_and_continued(run, tiny_model, tmp_path):
    """The base stands still; what is written is read by the loader of LoRAs, and starts the next run."""
    whole = replace(run, rank=2, fidelity_weight=0.5, distance_weight=1.0)
    train_feedback(whole, BRIEF, tmp_path / "whole")
    lines = metrics(tmp_path / "whole")
    assert lines[0]["distance"] == 0.0
    assert 0 <= lines[1]["told"] <= 1
    file = tmp_path / "whole" / "model" / LORA
    pipeline = load_sdxl(tiny_model)
    load_loras(pipeline, [(file, 1.0)])

    train_feedback(whole, replace(BRIEF, steps=1), tmp_path / "parts")
    train_feedback(whole, BRIEF, tmp_path / "parts")
    again = load_file(tmp_path / "parts" / "model" / LORA)
    assert all(torch.equal(again[name], value) for name, value in load_file(file).items())

    train_feedback(replace(run, rank=2, init=file), replace(BRIEF, steps=1), tmp_path / "next")
    after = load_file(tmp_path / "next" / "model" / LORA)
    assert any(not torch.equal(after[name], value) for name, value in load_file(file).items())
    with pytest.raises(SourceError, match="is a LoRA of rank 2; give --rank 2"):
        train_feedback(replace(run, rank=3, init=file), BRIEF, tmp_path / "other")
    with pytest.raises(ResumeError, match="form was"):
        train_feedback(replace(whole, distance_weight=2.0), BRIEF, tmp_path / "whole")


def test_a_whole_unet_is_held_to_what_it_was_and_starts_from_an_earlier_run(run, tmp_path):
    train_feedback(replace(run, fidelity_weight=0.5, distance_weight=1.0), BRIEF, tmp_path / "first")
    lines = metrics(tmp_path / "first")
    assert lines[0]["distance"] == pytest.approx(0.0, abs=1e-10)
    assert lines[1]["distance"] > 1e-10
    unet = tmp_path / "first" / "model" / "unet"
    started = replace(run, init=unet, distance_weight=1.0)
    train_feedback(started, replace(BRIEF, steps=1), tmp_path / "second")
    # The original is the model that was given, not the one it starts from.
    assert metrics(tmp_path / "second")[0]["distance"] > 1e-10


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cap": 0.0}, "--cap is 0; it must be more than 0"),
        ({"guidance": 0.5}, "--guidance is 0.5; it must be 1 or more"),
        ({"rank": -1}, "--rank is -1; it must be 0 or more"),
        ({"attribute_weight": float("nan")}, "--attribute-weight is nan"),
        (
            {"attribute_weight": 0.0, "spatial_weight": 0.0, "non_spatial_weight": 0.0},
            "no reward counts: .* has attribute, non-spatial, spatial, whose weights are 0",
        ),
    ],
)
def test_numbers_that_cannot_be_are_told_before_anything_is_loaded(change, sentence, run, tmp_path):
    with pytest.raises(SourceError, match=sentence):
        train_feedback(replace(run, **change, model=tmp_path / "nowhere"), BRIEF, tmp_path / "run")


def test_a_folder_that_is_no_unet_of_this_model_is_told(run, tmp_path):
    with pytest.raises(SourceError, match="is no folder of a UNet"):
        train_feedback(replace(run, init=tmp_path), BRIEF, tmp_path / "run")


def test_what_cannot_be_is_told_before_the_original_draws(run, tmp_path, caplog):
    caplog.set_level("INFO", "instance_composer")
    tuned = replace(run, rank=2, fidelity_weight=0.5)
    with pytest.raises(SettingsError, match="fsdp is on, but"):
        train_feedback(tuned, replace(BRIEF, fsdp=True), tmp_path / "run")
    train_feedback(tuned, BRIEF, tmp_path / "run", dry_run=True)
    assert "the original model draws 2 pictures before the first step" in caplog.text
    assert not [*tmp_path.rglob("original-*")]
