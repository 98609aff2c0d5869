"""The time of feedback with a discriminator: its turn, and the original model's pictures before all."""

from __future__ import annotations

import re

import torch
from tiny_rewards import write_tiny_rewards
from training_tasks import settings

from instance_composer.training.engine.loop import Trainer
from instance_composer.training.itercomp.feedback_objective import FeedbackObjective
from instance_composer.training.itercomp.feedback_options import FeedbackRun
from instance_composer.training.itercomp.feedback_run import train_feedback


def test_what_the_original_model_draws_is_part_of_the_time(tiny_model, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", "instance_composer")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"a red circle {number}\n" for number in range(70)))
    run = FeedbackRun(
        model=tiny_model, rewards=write_tiny_rewards(tmp_path / "rewards"), prompts=prompts, size=(64, 64),
        rank=2, fidelity_weight=0.1,
    )  # fmt: skip
    steps: list[int] = []
    sample = FeedbackObjective.sample

    def counted(self, latents, noise, last, *more, **named):
        if named.get("unet") is not None:
            steps.append(last)
        return sample(self, latents, noise, last, *more, **named)

    monkeypatch.setattr(FeedbackObjective, "sample", counted)
    tasks: list[object] = []
    tell = Trainer.tell
    monkeypatch.setattr(Trainer, "tell", lambda self: (tasks.append(self.task), tell(self))[1])
    train_feedback(run, settings(steps=2, batch=2, accumulate=1), tmp_path / "run", dry_run=True)
    assert "the original model draws 70 pictures before the first step" in caplog.text
    assert re.search(r"time: about .* steps of .*, of it .* before the first\n", caplog.text)
    # One call of the UNet tells of all, and one before it is cold.
    assert steps == [0, 0]
    # The generator's latents are not left over for a turn that does not come.
    (task,) = tasks
    assert task.objective._made == {}
    assert not (tmp_path / "run").exists()
    seconds = task.before(settings(batch=2), torch.device("cpu"))
    assert seconds > 0


def test_without_a_discriminator_nothing_is_made_before(tiny_model, tmp_path, caplog):
    caplog.set_level("INFO", "instance_composer")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red circle\n")
    run = FeedbackRun(
        model=tiny_model, rewards=write_tiny_rewards(tmp_path / "rewards"), prompts=prompts, size=(64, 64)
    )
    train_feedback(run, settings(steps=2, batch=1), tmp_path / "run", dry_run=True)
    assert "before the first" not in caplog.text
