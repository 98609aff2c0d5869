"""Noise, its weights, and what is dropped."""

from __future__ import annotations

import pytest
import torch
from training_tasks import FIRST

from instance_composer.training.engine.order import generator_at
from instance_composer.training.noise import (
    add_noise,
    drop,
    noise_schedule,
    signal_to_noise_weights,
    training_target,
)


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


def test_a_model_of_velocity_is_trained_towards_it():
    """Velocity and noisy latents give back the noise and the latents, also where all is noise."""
    from diffusers import DDPMScheduler

    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    latents = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    scheduler = DDPMScheduler(**schedule, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    noise, timesteps = torch.randn_like(latents), torch.tensor([300, 999])
    noisy = scheduler.add_noise(latents, noise, timesteps)
    target = training_target(latents, noise, scheduler, timesteps)
    kept = scheduler.alphas_cumprod[timesteps].double().reshape(2, 1, 1, 1)
    torch.testing.assert_close(kept.sqrt() * noisy - (1 - kept).sqrt() * target, latents, atol=1e-6, rtol=0)
    torch.testing.assert_close((1 - kept).sqrt() * noisy + kept.sqrt() * target, noise, atol=1e-6, rtol=0)
    assert training_target(latents, noise, DDPMScheduler(**schedule), timesteps) is noise

    # An error of the velocity, weighed, is that of the noise it stands for, weighed.
    wrong = target + 0.1
    found = (1 - kept).sqrt() * noisy + kept.sqrt() * wrong
    plain = DDPMScheduler(**schedule, rescale_betas_zero_snr=True)
    for power in (0.5, 1.0):
        weights = signal_to_noise_weights(scheduler, timesteps, power)
        assert weights.isfinite().all()
        expected = signal_to_noise_weights(plain, timesteps[:1], power) * (found - noise)[0].square().mean()
        torch.testing.assert_close((weights[0] * 0.1**2).double(), expected.double()[0], rtol=1e-4, atol=0)


def test_noise_levels_of_edm_are_refused(pipeline):
    from diffusers import EDMEulerScheduler

    before = pipeline.scheduler
    pipeline.scheduler = EDMEulerScheduler()
    try:
        with pytest.raises(ValueError, match="trained on EDM's noise levels"):
            noise_schedule(pipeline)
    finally:
        pipeline.scheduler = before


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


def test_a_power_draws_more_of_the_noisy_timesteps():
    """Of a power p the share of timesteps up to t of T is (t / T) ** (1 / p); 1 changes no number."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    latents = torch.zeros(20_000, 1, 1, 1)
    drawn = {
        power: add_noise(latents, scheduler, generator_at(FIRST, 0), timestep_power=power)[2]
        for power in (1.0, 0.5)
    }
    assert torch.equal(drawn[1.0], add_noise(latents, scheduler, generator_at(FIRST, 0))[2])
    for power, timesteps in drawn.items():
        assert int(timesteps.min()) >= 0
        assert int(timesteps.max()) <= 999
        early = float((timesteps < 500).float().mean())
        assert early == pytest.approx(0.5 ** (1 / power), abs=0.015)
