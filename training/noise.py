"""The noise-prediction objective of SDXL, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler, EDMEulerScheduler
from torch import Generator, Tensor

# The noise schedule of SDXL base.
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def noise_schedule(pipeline: Any) -> DDPMScheduler:
    """The noise schedule that a pipeline's model was trained with; ValueError for one that is not DDPM's."""
    if isinstance(pipeline.scheduler, EDMEulerScheduler):
        raise ValueError(
            "the model was trained on EDM's noise levels, and training here is on those of SDXL; use a model "
            "that predicts noise or velocity on SDXL's levels"
        )
    schedule: Any = DDPMScheduler.from_config(pipeline.scheduler.config)
    return schedule


def training_target(latents: Tensor, noise: Tensor, scheduler: DDPMScheduler, timesteps: Tensor) -> Tensor:
    """What the model is to predict of noisy latents: the noise, or the velocity (arXiv 2202.00512)."""
    if scheduler.config["prediction_type"] != "v_prediction":
        return noise
    return scheduler.get_velocity(latents, noise, timesteps)  # type: ignore[arg-type]


def add_noise(
    latents: Tensor,
    scheduler: DDPMScheduler,
    generator: Generator,
    offset: float = 0.0,
    timestep_power: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, the noise in them, and timesteps (B,), uniform over the schedule.

    Below 1 a `timestep_power` draws more of the noisy ones: a share u of the schedule becomes u ** power.

    `offset` is the deviation of one more number for each channel, the same in all its cells: SDXL's schedule
    ends before everything is noise, and a model that never saw the mean of a channel hidden takes the initial
    noise's for the picture's. SDXL was trained with 0.05 (arXiv 2307.01952, section 2.5).
    """
    made: dict[str, Any] = {"generator": generator, "device": latents.device, "dtype": latents.dtype}
    noise = torch.randn(latents.shape, **made)
    if offset:
        noise += offset * torch.randn((*latents.shape[:2], 1, 1), **made)
    steps: int = scheduler.config["num_train_timesteps"]
    drawn: dict[str, Any] = {"generator": generator, "device": latents.device}
    if timestep_power == 1:
        timesteps = torch.randint(steps, latents.shape[:1], **drawn)
    else:
        share = torch.rand(latents.shape[:1], **drawn) ** timestep_power
        timesteps = (steps * share).long().clamp(max=steps - 1)
    return scheduler.add_noise(latents, noise, timesteps), noise, timesteps  # type: ignore[arg-type]


def signal_to_noise_weights(scheduler: DDPMScheduler, timesteps: Tensor, power: float) -> Tensor:
    """Weights (B,) of squared errors of what is predicted that amount to SNR ** -power of the noise's.

    0 is the plain error of the noise, 1 the error of the picture. 0.5 is between them: Debiased Estimation
    (Yu et al. 2023, arXiv 2310.08442).
    """
    kept = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    if scheduler.config["prediction_type"] != "v_prediction":
        return (kept / (1 - kept)) ** -power
    # An error of the velocity is one of the noise over sqrt(kept), which is 0 where all is noise.
    return kept ** (1 - power) * (1 - kept) ** power


def size_conditioning(sizes: Sequence[tuple[int, int]]) -> Tensor:
    """SDXL's six numbers for uncropped pictures of these heights and widths: (B, 6)."""
    return torch.tensor([(h, w, 0, 0, h, w) for h, w in sizes], dtype=torch.float32)


def drop(shape: tuple[int, ...], share: float, generator: Generator) -> Tensor:
    """True (bool, of this shape) for a random share of elements."""
    return torch.rand(shape, generator=generator, device=generator.device) < share
