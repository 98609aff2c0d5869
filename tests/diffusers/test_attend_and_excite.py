"""Attend-and-Excite in diffusers: the denoised picture goes down the objective, whatever a model predicts."""

from __future__ import annotations

import pytest
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler
from tiny_sdxl import write_tiny_sdxl

from instance_composer.generation.diffusers_methods import FAMILY
from instance_composer.generation.jobs import Job, Sampling
from instance_composer.hosts.diffusers_sdxl import load_sdxl, move_noise
from instance_composer.hosts.diffusers_sdxl.entities import read_prompt, targets_of
from instance_composer.hosts.diffusers_sdxl.methods.guided import attend_and_excite
from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.models.baselines.attend_and_excite import MaxAttentionObjective
from instance_composer.models.concentration.energy import LARGEST_NOISE
from instance_composer.training.noise import SCHEDULE

LAYOUT = Layout((Instance("0", Box(0, 0, 1, 1), "a red book"),), Canvas(64, 64), "a red book")
SCHEDULERS = {
    "noise": EulerDiscreteScheduler(**SCHEDULE),
    "velocity": EulerDiscreteScheduler(**SCHEDULE, prediction_type="v_prediction"),
    "velocity without a signal": EulerDiscreteScheduler(
        **SCHEDULE, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    ),
    "EDM": EDMEulerScheduler(),
    "EDM, velocity": EDMEulerScheduler(prediction_type="v_prediction"),
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return load_sdxl(write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl"))


@torch.no_grad()
@pytest.mark.parametrize("predicts", SCHEDULERS)
@pytest.mark.parametrize("first", [0, 2])
def test_the_denoised_picture_moves_down_the_objective_by_the_noise_level(predicts, first, pipeline):
    scheduler = pipeline.scheduler = SCHEDULERS[predicts]
    scheduler.set_timesteps(4)
    scheduler.set_begin_index(first)
    timestep, sigma = scheduler.timesteps[first], float(scheduler.sigmas[first])
    generator = torch.Generator().manual_seed(1)
    latent = sigma * torch.randn(1, 4, 8, 8, generator=generator)
    prompt, _, pooled, _ = pipeline.encode_prompt(LAYOUT.prompt, do_classifier_free_guidance=False)
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
    asked = Job(FAMILY, "attend-and-excite", LAYOUT, 64, 64, Sampling(steps=4), {"strength": 1.0})

    def denoised(output: torch.Tensor) -> torch.Tensor:
        scheduler._step_index = first
        return scheduler.step(output, timestep, latent, return_dict=True).pred_original_sample

    scheduler._step_index = None
    given = scheduler.scale_model_input(latent, timestep)
    rows = {"added_cond_kwargs": {name: one.repeat(2, 1) for name, one in added.items()}}
    pair = (torch.cat((given, given)), timestep, prompt.repeat(2, 1, 1))
    plain = pipeline.unet(*pair, **rows)[0]
    with attend_and_excite(pipeline, asked):
        moved = pipeline.unet(*pair, **rows)[0]
    read = read_prompt(pipeline, LAYOUT)
    targets = targets_of(read, LAYOUT, boxes=False)
    assert targets is not None
    objective = MaxAttentionObjective(targets.nouns, len(read.words))
    step = move_noise(
        pipeline.unet, objective, 1.0, given, timestep, prompt, added, (True,) * len(targets.nouns)
    )
    assert step.abs().max() > 0
    # The unconditional row stays, and the other goes where a change of the noise would take it.
    assert torch.equal(moved[:1], plain[:1])
    change = denoised(moved[1:]) - denoised(plain[1:])
    expected = -min(sigma, LARGEST_NOISE) * step
    torch.testing.assert_close(change, expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))
