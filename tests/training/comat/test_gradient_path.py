"""How the gradient of a picture finds its way back through the sampling steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_sdxl import write_tiny_sdxl
from torch import Tensor

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.models.comat import Schedule
from instance_composer.training.comat.lora import add_lora
from instance_composer.training.comat.online import Sampler
from instance_composer.training.comat.prompts import PromptEncoder
from instance_composer.training.noise import noise_schedule

STEPS = 4
EVERY = Schedule(tuple(range(STEPS)), (), (0, 0))
SHAPE = (2, 4, 8, 8)


class Drawn:
    """Two pictures of a tiny SDXL in double precision, whose LoRA already does something."""

    def __init__(self, pipeline) -> None:
        encoder = PromptEncoder(pipeline)
        unet = pipeline.unet.double()
        torch.manual_seed(0)
        add_lora(unet, 2)
        self.weights = [value for name, value in unet.named_parameters() if ".lora_" in name]
        for value in self.weights:
            value.data = value.data.double() + 0.2 * torch.randn(value.shape, dtype=torch.float64)
        self.target = torch.randn(SHAPE, dtype=torch.float64)
        self.noises = torch.randn(STEPS, *SHAPE, dtype=torch.float64)
        self.conditions = [
            self._double(encoder.encode(encoder.tokens(words), (64, 64)))
            for words in (["", ""], ["a red dog", "a blue cat"])
        ]
        self.sampler = Sampler(unet, noise_schedule(pipeline), STEPS, 3.0)

    @staticmethod
    def _double(conditions):
        added = {name: value.double() for name, value in conditions.added.items()}
        return conditions._replace(prompt=conditions.prompt.double(), added=added)

    def losses(self, schedule: Schedule = EVERY, **how) -> Tensor:
        """The squared distance of each picture from its target."""
        sampler = replace(self.sampler, **how)
        # The sampler casts predictions to float32; the tolerances below allow for that.
        latents = sampler(
            self.noises[0], *self.conditions, lambda number: self.noises[number], schedule
        ).latents
        return (latents - self.target).square().flatten(1).mean(1)

    def gradient(self, **how) -> list[Tensor]:
        return list(torch.autograd.grad(self.losses(**how).sum(), self.weights))

    def slope(self, direction: list[Tensor], size: float = 1e-3) -> float:
        """How the loss changes along a direction of the weights, by trying."""
        values = []
        for sign in (1, -1):
            for value, way in zip(self.weights, direction, strict=True):
                value.data += sign * size * way
            with torch.no_grad():
                values.append(float(self.losses().sum()))
            for value, way in zip(self.weights, direction, strict=True):
                value.data -= sign * size * way
        return (values[0] - values[1]) / (2 * size)


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory) -> Path:
    """A gradient from call to call tells more apart the more layers a call has."""
    return write_tiny_sdxl(tmp_path_factory.mktemp("deep") / "sdxl")


@pytest.fixture
def drawn(deep_model) -> Drawn:
    return Drawn(load_sdxl(deep_model))


def dot(one: list[Tensor], other: list[Tensor]) -> float:
    return sum(float((left * right).sum()) for left, right in zip(one, other, strict=True))


def test_from_call_to_call_it_is_the_whole_gradient(drawn):
    """As tried along its own direction; through the scheduler alone a part of it is missing."""
    whole = drawn.gradient(chained=True)
    norm = dot(whole, whole) ** 0.5
    direction = [value / norm for value in whole]
    assert drawn.slope(direction) == pytest.approx(norm, rel=1e-2)
    partly = drawn.gradient(chained=False)
    assert abs(dot(partly, direction) / norm - 1) > 0.05


def test_a_limit_out_of_reach_changes_nothing(drawn):
    for one, other in zip(drawn.gradient(chained=True), drawn.gradient(chained=True, limit=1e9), strict=True):
        assert torch.equal(one, other)


def test_a_limit_is_each_pictures_own(drawn):
    """One picture's loss a thousand times larger leaves the other's share of the gradient as it is."""
    how = {"chained": True, "limit": 0.5}
    free = drawn.gradient(chained=True)
    alone = torch.autograd.grad(drawn.losses(**how)[0], drawn.weights)
    both = torch.autograd.grad((drawn.losses(**how) * torch.tensor([1.0, 1000.0])).sum(), drawn.weights)
    second = torch.autograd.grad(drawn.losses(**how)[1], drawn.weights)
    for first, joint, other in zip(alone, both, second, strict=True):
        torch.testing.assert_close(joint, first + 1000 * other, rtol=1e-4, atol=1e-3)
    limited = drawn.gradient(**how)
    assert 0 < dot(limited, limited) < dot(free, free)


def test_without_a_gradient_the_pictures_are_the_same(drawn):
    with torch.no_grad():
        plain = drawn.losses(Schedule((), (), (0, 0)))
        assert torch.equal(drawn.losses(chained=True, limit=1.0), plain)
