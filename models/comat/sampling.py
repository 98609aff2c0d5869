"""Ancestral sampling (DDPM, arXiv 2006.11239), a step of it as a differentiable function."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# The least variance of a step; the last one's is 0, and its logarithm is taken elsewhere.
_LEAST_VARIANCE = 1e-20


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Shares of the picture in a noisy latent, (T,), and what the model predicts: its noise ("epsilon") or
    its velocity ("v_prediction").
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"the model predicts {self.prediction!r}; epsilon and v_prediction can be sampled here"
            )


def clean_prediction(schedule: NoiseSchedule, predicted: Tensor, latents: Tensor, timestep: int) -> Tensor:
    """The clean latents that follow from what the model predicts of noisy ones."""
    kept = schedule.alphas_cumprod[timestep].item()
    if schedule.prediction == "epsilon":
        return (latents - (1 - kept) ** 0.5 * predicted) / kept**0.5
    return kept**0.5 * latents - (1 - kept) ** 0.5 * predicted


def ancestral_step(
    schedule: NoiseSchedule, predicted: Tensor, latents: Tensor, timestep: int, previous: int, noise: Tensor
) -> Tensor:
    """Latents at the timestep before (below 0: clean ones), with the smaller of DDPM's two variances."""
    kept = schedule.alphas_cumprod[timestep].item()
    kept_before = schedule.alphas_cumprod[previous].item() if previous >= 0 else 1.0
    step = kept / kept_before
    clean = clean_prediction(schedule, predicted, latents, timestep)
    mean = (
        kept_before**0.5 * (1 - step) / (1 - kept) * clean
        + step**0.5 * (1 - kept_before) / (1 - kept) * latents
    )
    variance = max((1 - kept_before) / (1 - kept) * (1 - step), _LEAST_VARIANCE)
    return mean + variance**0.5 * noise if timestep > 0 else mean
