"""The methods themselves: a request to a picture; all of them begin with the same noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from ....generation.diffusers_methods import METHODS as KNOWN
from ....generation.jobs import Job
from ....models.ifadapter import IFAdapter
from ..pipeline import encode_layout, generate
from . import guided, regional
from .dense_diffusion import dense_diffusion
from .gligen import draw_gligen
from .unheard import MASKS, PARTS, STRENGTHS, tell_unheard


@dataclass(frozen=True)
class Request:
    """A job with what it is drawn by."""

    pipeline: StableDiffusionXLPipeline
    job: Job
    adapter: IFAdapter | None = None


def plain(request: Request) -> Any:
    """The prompt alone."""
    job, run = request.job, request.pipeline
    pipeline: Any = run
    return pipeline(
        prompt=job.layout.prompt,
        negative_prompt=job.layout.negative.strip() or None,
        height=job.height,
        width=job.width,
        num_inference_steps=job.sampling.steps,
        guidance_scale=job.sampling.cfg,
        generator=torch.Generator("cpu").manual_seed(job.sampling.seed),
    ).images[0]


def ifadapter(request: Request) -> Any:
    """Every instance in its box by the adapter."""
    job, adapter = request.job, request.adapter
    assert adapter is not None
    encoded = encode_layout(request.pipeline, adapter, job.layout)
    return generate(
        request.pipeline,
        encoded,
        height=job.height,
        width=job.width,
        seeds=[job.sampling.seed],
        steps=job.sampling.steps,
        guidance=job.sampling.cfg,
    )[0]


def multidiffusion(request: Request) -> Any:
    """Noise predictions of each caption, averaged where its region is."""
    job = request.job
    prompts = _regional(request)
    seed, steps = job.sampling.seed, job.sampling.steps
    with regional.multidiffusion(request.pipeline, prompts, seed, steps):
        return plain(request)


def rpg(request: Request) -> Any:
    """Every region attends to its own caption, besides the whole prompt."""
    prompts = _regional(request)
    with regional.rpg(request.pipeline, prompts):
        return plain(request)


def omost(request: Request) -> Any:
    """Every cell attends to the whole prompt and the captions of its regions at once."""
    prompts = _regional(request)
    with regional.omost(request.pipeline, prompts):
        return plain(request)


def densediffusion(request: Request) -> Any:
    """The attention of cells and words is raised within a region and lowered between regions."""
    _tell(request, MASKS)
    with dense_diffusion(request.pipeline, request.job.layout):
        return plain(request)


def attend_and_excite(request: Request) -> Any:
    """The most neglected of the prompt's things gets attention somewhere."""
    with guided.attend_and_excite(request.pipeline, request.job):
        return plain(request)


def local(request: Request) -> Any:
    """The attention of each thing's words gathers where its noun's is high."""
    with guided.concentration(request.pipeline, request.job, boxes=False):
        return plain(request)


def local_boxes(request: Request) -> Any:
    """The attention of each thing's words gathers in its box."""
    _tell(request, MASKS, STRENGTHS, PARTS)
    with guided.concentration(request.pipeline, request.job, boxes=True):
        return plain(request)


def ifadapter_local(request: Request) -> Any:
    """Every instance in its box by the adapter, the attention of its words too."""
    with guided.concentration(request.pipeline, request.job, boxes=True):
        return ifadapter(request)


def gligen(request: Request) -> Any:
    """Every instance in its box by GLIGEN's own model."""
    return draw_gligen(request.pipeline, request.job)


def _regional(request: Request) -> regional.RegionalPrompts:
    _tell(request, MASKS)
    return regional.RegionalPrompts.encode(request.pipeline, request.job)


def _tell(request: Request, *heard: str) -> None:
    job = request.job
    tell_unheard(KNOWN[job.method].label, job.layout.active, heard)


METHODS: Mapping[str, Callable[[Request], Any]] = {
    "plain": plain,
    "attend-and-excite": attend_and_excite,
    "local": local,
    "local-boxes": local_boxes,
    "multidiffusion": multidiffusion,
    "densediffusion": densediffusion,
    "rpg": rpg,
    "omost": omost,
    "gligen": gligen,
    "ifadapter": ifadapter,
    "ifadapter+local": ifadapter_local,
}
