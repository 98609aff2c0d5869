"""Feedback learning: rewards rise, and nothing but the UNet moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_tasks import FIRST, make_task, settings

from instance_composer.training.engine.checkpoint import ResumeError
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.order import generator_at


def test_feedback_moves_the_unet_alone(pipeline, latents, tmp_path):
    task = make_task("feedback", pipeline, latents)
    frozen = {
        name: value.clone()
        for name, value in task.objective.named_parameters()
        if not name.startswith("unet.")
    }
    trainer = Trainer(task, settings(steps=1, batch=1), tmp_path)
    trainer.advance()
    assert frozen.keys().isdisjoint(trainer.state()["weights"])
    now = dict(task.objective.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())


@pytest.mark.parametrize("mixed", [False, True], ids=["fp32", "bf16"])
def test_the_gradient_of_rewards_reaches_all_of_the_unet_and_nothing_else(mixed, pipeline, latents):
    """In mixed precision too, where steps without a gradient come before the one that has it."""
    task = make_task("feedback", pipeline, latents)
    task.objective.train()
    assert not task.objective.rewards.training
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        loss = task.objective(task.batch(FIRST, 2, 0), generator_at(FIRST, 0))["loss"]
    loss.backward()
    for name, parameter in task.objective.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.isfinite().all())
        assert reached == name.startswith("unet."), name
    # A bias before a group norm of single channels, as the tiny UNet has them, is taken away again.
    grads = [p.grad for n, p in task.objective.unet.named_parameters() if n.endswith("weight")]
    assert all(bool(grad.any()) for grad in grads)


def test_feedback_raises_the_reward_of_every_aspect(pipeline, latents, tmp_path):
    task = make_task("feedback", pipeline, latents)
    batch = task.batch(FIRST, 4, 0)

    def rewards() -> dict[str, float]:
        """Of pictures from noise that is always the same."""
        task.objective.eval()
        with torch.no_grad():
            report = task.objective(batch, generator_at(FIRST, 0))
        return {aspect: float(report[aspect]) for aspect in task.objective.aspects}

    before = rewards()
    trainer = Trainer(task, settings(steps=5), tmp_path)
    for _ in range(5):
        trainer.advance()
    after = rewards()
    assert all(after[aspect] > before[aspect] for aspect in before), (before, after)


def test_feedback_asks_for_no_more_than_two_deviations(pipeline, latents):
    task = make_task("feedback", pipeline, latents)
    batch = task.batch(FIRST, 2, 0)
    report = task.objective(batch, generator_at(FIRST, 0))
    lacking = sum(2 - report[aspect].item() for aspect in ("attribute", "spatial"))
    for model in task.objective.rewards:
        model.config = replace(model.config, mean=model.config.mean - 100 * model.config.std)
    content = task.objective(batch, generator_at(FIRST, 0))
    content["loss"].backward()
    assert report["loss"].item() == pytest.approx(1e-3 * lacking, rel=1e-4)
    assert content["loss"].item() == 0.0
    assert all(not p.grad.any() for p in task.objective.unet.parameters() if p.grad is not None)


def test_other_prompts_of_the_same_number_are_not_continued_with(pipeline, latents, tmp_path):
    task = make_task("feedback", pipeline, latents)
    trainer = Trainer(task, settings(steps=1, batch=1), tmp_path)
    trainer.advance()
    trainer.save()
    task.prompts[0], task.prompts[1] = task.prompts[1], task.prompts[0]
    with pytest.raises(ResumeError, match="prompts was"):
        Trainer(task, settings(steps=2, batch=1), tmp_path)
