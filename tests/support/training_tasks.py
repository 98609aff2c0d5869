"""Tasks of real classes at toy size, and what is asked of each of them."""

from __future__ import annotations

import torch
from tiny_rewards import HEADS, WORDS, tiny_state
from tiny_sdxl import tiny_vae

from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.rewards import RewardModel, RewardTokenizer
from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.captioner.model import small_captioner
from instance_composer.training.captioner.objective import CaptionerTask
from instance_composer.training.captioner.pictures import Painted
from instance_composer.training.data.latents import LatentSet
from instance_composer.training.demo_model.autoencoder import AutoencoderTask
from instance_composer.training.demo_model.flow_matching import FlowTask
from instance_composer.training.demo_model.text_to_image import TextToImageTask
from instance_composer.training.demo_model.transformer import fitting_transformer
from instance_composer.training.engine.order import generator_at
from instance_composer.training.engine.settings import Settings
from instance_composer.training.engine.task import BatchPosition
from instance_composer.training.ifadapter.initial_weights import make_adapter
from instance_composer.training.ifadapter.objective import IFAdapterTask
from instance_composer.training.itercomp.feedback_objective import AspectReward
from instance_composer.training.itercomp.feedback_task import FeedbackTask

FIRST = BatchPosition(0, 0, 0, 1, 1)
KINDS = ["autoencoder", "base", "transformer", "ifadapter", "feedback", "captioner"]


def settings(**changes) -> Settings:
    values = {
        "steps": 4,
        "batch": 4,
        "learning_rate": 2e-3,
        "warm_up": 0,
        "every_sample": 0,
        "every_checkpoint": 0,
    }
    return Settings(**{**values, **changes})


def make_task(kind: str, pipeline, latents: LatentSet):
    torch.manual_seed(0)
    if kind == "autoencoder":
        return AutoencoderTask(side=64, crop=32, autoencoder=tiny_vae())
    if kind == "base":
        return TextToImageTask(pipeline, [latents])
    if kind == "transformer":
        return FlowTask(fitting_transformer(pipeline), pipeline, [latents])
    if kind == "feedback":
        prompts = ["a red circle", "a blue square and a green star on grey", "a small star", *"abcdef"]
        return FeedbackTask(pipeline, tiny_aspect_rewards(), prompts, (64, 64))
    if kind == "captioner":
        return tiny_captioner_task()
    examples = [ShapesWorld(5, 64, 64)[number].layout for number in range(2)]
    return IFAdapterTask(pipeline, make_adapter(pipeline.unet, small=True), [latents], 1.0, examples=examples)


def tiny_captioner_task() -> CaptionerTask:
    """Pictures of 64 pixels, of two things each, eight to learn from and eight to measure on."""
    model, processor = small_captioner(side=64, patch=16, width=16, layers=1)
    learnt, measured = (Painted(ShapesWorld(seed, 64, 64, figures=2), 8) for seed in (1, 2))
    return CaptionerTask(model, processor, [learnt], {"held-out looks": measured})


def tiny_aspect_rewards() -> list[AspectReward]:
    metadata = {**HEADS, "words": WORDS}
    model = RewardModel.from_state_dict(tiny_state(), metadata)
    tokenizer = RewardTokenizer.of_words(WORDS, model.config.tokens)
    return [AspectReward("attribute", model, tokenizer), AspectReward("spatial", model, tokenizer)]


def open_gates(adapter: IFAdapter) -> None:
    for layer in adapter.attention.values():
        torch.nn.init.constant_(layer.alpha, 0.5)


def error_on(task, batch) -> float:
    """The loss on one batch with noise that is always the same."""
    task.objective.eval()
    with torch.no_grad():
        value = task.objective(batch, generator_at(FIRST, 0))["loss"]
    task.after_backward()
    return float(value)
