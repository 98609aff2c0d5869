"""Noise, its weights, and what is dropped."""

from __future__ import annotations

import pytest
import torch
from training_tasks import FIRST

from instance_composer.training.engine.order import generator_at
from instance_composer.training.noise import add_noise, drop, signal_to_noise_weights


def test_shares_of_dropped_captions():
    dropped = drop((20_000,), 0.15, generator_at(FIRST, 0)).float().mean()
    assert float(dropped) == pytest.approx(0.15, abs=0.01)


def test_weights_of_noise_levels():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    timesteps = torch.tensor([0, 999])
    kept = scheduler.alphas_cumprod[timesteps]
    noise_to_signal = (1 - kept) / kept
    torch.testing.assert_close(signal_to_noise_weights(scheduler, timesteps, 0.5), noise_to_signal.sqrt())
    torch.testing.assert_close(signal_to_noise_weights(scheduler, timesteps, 1.0), noise_to_signal)
    assert torch.equal(signal_to_noise_weights(scheduler, timesteps, 0.0), torch.ones(2))


def test_noise_offset_moves_the_means_of_channels_alone():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    latents = torch.randn(64, 4, 16, 16)
    plain = add_noise(latents, scheduler, generator_at(FIRST, 0))
    moved = add_noise(latents, scheduler, generator_at(FIRST, 0), offset=0.5)
    assert plain[1].mean(dim=(2, 3)).std().item() == pytest.approx(1 / 16, rel=0.15)
    means = moved[1].mean(dim=(2, 3))
    assert means.std().item() == pytest.approx((0.5**2 + 1 / 16**2) ** 0.5, rel=0.15)
    # It is drawn after everything else but the timesteps, and is part of what is to be predicted.
    torch.testing.assert_close(
        moved[1] - means[..., None, None], plain[1] - plain[1].mean((2, 3), keepdim=True)
    )
    kept = scheduler.alphas_cumprod[moved[2]][:, None, None, None]
    torch.testing.assert_close(moved[0], kept.sqrt() * latents + (1 - kept).sqrt() * moved[1])
