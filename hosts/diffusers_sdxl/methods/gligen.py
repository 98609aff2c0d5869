"""GLIGEN through diffusers' own pipeline, with the user's weights of it (Stable Diffusion 1)."""

from __future__ import annotations

import logging
from typing import Any

import torch
from diffusers import StableDiffusionGLIGENPipeline

from ....generation.jobs import Job
from ..errors import UnsuitableModelError
from .unheard import tell_unheard

# Things that its position network was trained with, and the share of the steps in which they are heard
# (arXiv 2301.07093, section 3.3, as diffusers has it).
MOST_THINGS = 30
_GROUNDED = 0.3

logger = logging.getLogger("instance_composer")


def draw_gligen(pipeline: Any, job: Job) -> Any:
    """A picture of a job; `UnsuitableModelError` for a pipeline of another kind."""
    if not isinstance(pipeline, StableDiffusionGLIGENPipeline):
        raise UnsuitableModelError(
            "gligen draws with GLIGEN's own model; name its diffusers folder with --model"
        )
    layout = job.layout
    instances = layout.active
    if len(instances) > MOST_THINGS:
        logger.warning(
            "GLIGEN places %d things; the last %d are left out.", MOST_THINGS, len(instances) - MOST_THINGS
        )
        instances = instances[:MOST_THINGS]
    tell_unheard("GLIGEN", instances)
    run: Any = pipeline
    return run(
        prompt=layout.prompt,
        negative_prompt=layout.negative.strip() or None,
        height=job.height,
        width=job.width,
        num_inference_steps=job.sampling.steps,
        guidance_scale=job.sampling.cfg,
        gligen_scheduled_sampling_beta=_GROUNDED,
        gligen_phrases=[one.caption for one in instances],
        # What is measured afterwards is where the instance is: a mask may fill a part of its box.
        gligen_boxes=[list(one.bounds) for one in instances],
        generator=torch.Generator("cpu").manual_seed(job.sampling.seed),
    ).images[0]
