"""Every kind of run has something to hold out, and measures it without moving on."""

from __future__ import annotations

import pytest
import torch
from training_tasks import make_task, settings, tiny_aspect_rewards

from instance_composer.training.data.held_out import hold_out, hold_out_texts
from instance_composer.training.demo_model.text_to_image import TextToImageTask
from instance_composer.training.engine.checkpoint import BEST, read_run
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.itercomp.feedback_task import FeedbackTask


def task_of(kind, pipeline, latents):
    if kind == "base":
        torch.manual_seed(0)
        held, left = hold_out(len(latents), 3, "pictures")
        return TextToImageTask(pipeline, [latents.select(left)], [latents.select(held)])
    if kind == "feedback":
        return FeedbackTask(
            pipeline, tiny_aspect_rewards(), ["a red circle", "a star"], (64, 64), held_out=["a blue square"]
        )
    return make_task(kind, pipeline, latents)


@pytest.mark.parametrize(("kind", "count"), [("autoencoder", 32), ("base", 3), ("feedback", 1)])
def test_the_loss_on_what_is_held_out_is_measured_and_the_best_stays(
    kind, count, pipeline, latents, tmp_path
):
    task = task_of(kind, pipeline, latents)
    assert task.held_out_count == count
    trainer = Trainer(task, settings(steps=1, batch=2, every_validation=1), tmp_path)
    assert trainer.validate()
    first, state = trainer._validation, torch.get_rng_state()
    assert not trainer.validate()
    assert trainer._validation == first
    assert torch.equal(torch.get_rng_state(), state)
    trainer._best = None
    trainer.advance()
    assert trainer.validate()
    trainer.save()
    trainer._keep_best()
    assert torch.load(tmp_path / BEST, weights_only=True)["step"] == read_run(tmp_path)["step"] == 1
    assert trainer._validation != first


def test_a_text_that_comes_again_is_held_out_with_its_like():
    texts = [f"prompt {number % 7}" for number in range(20)]
    held, left = hold_out_texts(texts, 3, "prompts")
    assert len({texts[place] for place in held}) == len(held) == 3
    assert {texts[place] for place in held}.isdisjoint(texts[place] for place in left)
    assert {texts[place] for place in (*held, *left)} == set(texts)
    # Nothing changes where all are different.
    assert hold_out_texts(texts[:7], 3, "prompts") == hold_out(7, 3, "prompts")
