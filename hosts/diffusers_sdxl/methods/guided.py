"""Guidance by attention around the plain sampler: attribute concentration, and Attend-and-Excite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from diffusers import EDMEulerScheduler, StableDiffusionXLPipeline
from torch import Tensor

from ....generation.jobs import Job
from ....models.attention.objective import Objective
from ....models.baselines.attend_and_excite import MaxAttentionObjective
from ....models.concentration import LocalGuidance
from ....models.concentration.energy import LARGEST_NOISE
from ..concentration import attach_concentration, move_noise
from ..entities import read_prompt, targets_of
from ..schedule import progress_of
from .predictions import replaced_forward

# The conditional row is the last of a guided pair, and the only one without guidance.
_CONDITIONAL = [-1]


def concentration(pipeline: StableDiffusionXLPipeline, job: Job, boxes: bool) -> AbstractContextManager[None]:
    """Inside the `with` block the attention of each thing's words gathers in its box or in its own region.

    A thing with a box is guided in that part of the run in which its instance counts.
    """
    targets = targets_of(read_prompt(pipeline, job.layout), job.layout, boxes)
    if targets is None:
        return nullcontext()
    guidance = LocalGuidance(strength=_strength(job))
    regions = targets.regions
    # Nothing is asked for at each layer where everything acts at every step.
    timed = any(window != (0.0, 1.0) for window in regions.windows)
    active = (lambda: regions.active(progress_of(pipeline))) if timed else None
    return attach_concentration(pipeline.unet, targets, guidance, _CONDITIONAL, active=active)


def attend_and_excite(pipeline: StableDiffusionXLPipeline, job: Job) -> AbstractContextManager[None]:
    """Inside the `with` block Attend-and-Excite's objective (arXiv 2301.13826) moves the prediction.

    Of the original this is the objective alone, as in ComfyUI: the step is that of our guidance of the
    latent, at every step of the run, and there is no refinement within a step.
    """
    read = read_prompt(pipeline, job.layout)
    targets = targets_of(read, job.layout, boxes=False)
    if targets is None:
        return nullcontext()
    objective = MaxAttentionObjective(targets.nouns, len(read.words))
    return _moving(pipeline, objective, _strength(job), (True,) * len(targets.nouns))


@contextmanager
def _moving(
    pipeline: StableDiffusionXLPipeline, objective: Objective, strength: float, active: tuple[bool, ...]
) -> Iterator[None]:
    unet: Any = pipeline.unet
    moving = False

    def moved(forward: Any, sample: Tensor, timestep: Any, prompt: Tensor, **others: Any) -> Any:
        nonlocal moving
        found = forward(sample, timestep, prompt, **others)
        if moving:
            return found  # the call that reads the attention
        conditions = {name: values[-1:] for name, values in others["added_cond_kwargs"].items()}
        moving = True
        try:
            step = move_noise(
                unet, objective, strength, sample[-1:], timestep, prompt[-1:], conditions, active
            )
        finally:
            moving = False
        whole: Tensor = found[0]
        step = _as_predicted(pipeline.scheduler) * step
        return (torch.cat((whole[:-1], whole[-1:] + step.to(whole))), *found[1:])

    with replaced_forward(unet, moved):
        yield


def _as_predicted(scheduler: Any) -> float:
    """How much the output of a model changes where its predicted noise would change by 1.

    The denoised picture then moves by minus the noise level, whatever the model predicts, and by no more than
    `LARGEST_NOISE`, as in ComfyUI. Source: what diffusers' Euler schedulers make of a model's output.
    """
    sigma = float(scheduler.sigmas[scheduler.step_index])
    reach, config = min(sigma, LARGEST_NOISE), scheduler.config
    velocity = config["prediction_type"] == "v_prediction"
    if isinstance(scheduler, EDMEulerScheduler):
        data: float = config["sigma_data"]
        out = sigma * data / math.hypot(sigma, data)
        return reach / out if velocity else -reach / out
    return reach / sigma * (math.hypot(sigma, 1) if velocity else 1)


def _strength(job: Job) -> float:
    return float(job.options.get("strength", 1.0))
