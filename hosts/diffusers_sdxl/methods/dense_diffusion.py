"""DenseDiffusion in diffusers: all attention of the conditional row modulated by the layout's segments."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from diffusers import EDMEulerScheduler, StableDiffusionXLPipeline
from torch import Tensor

from ....layout import Layout
from ....models.attention.seeing import owners
from ....models.baselines.dense_diffusion import (
    CROSS_WEIGHT,
    NO_SEGMENT,
    SELF_WEIGHT,
    Segments,
    attend_modulated,
    weight_at,
)
from ....models.entities.matching import match_entities
from ....models.regions import Regions
from ..concentration import preset_layers
from ..entities import PromptTokens, read_prompt
from ..layer_hooks import Grid, LayerInputs, visiting
from ..schedule import progress_of

logger = logging.getLogger("instance_composer")


@contextmanager
def dense_diffusion(pipeline: StableDiffusionXLPipeline, layout: Layout) -> Iterator[None]:
    """Inside the `with` block the attention of the conditional row is modulated as DenseDiffusion does it.

    A segment's text is what the prompt says of its instance. What no instance covers is one more segment,
    with the other words of the prompt. A prompt that names nothing of the layout is drawn as it is, and told.
    """
    unet: Any = pipeline.unet
    regions, tokens = Regions.from_layout(layout), _segments_of_tokens(read_prompt(pipeline, layout), layout)
    if tokens is None:
        yield
        return
    known: dict[tuple[Grid, torch.device], Segments] = {}

    def segments(grid: Grid, device: torch.device) -> Segments:
        if (grid, device) not in known:
            known[grid, device] = Segments(_owners(regions, grid).to(device), tokens.to(device))
        return known[grid, device]

    def visit(layer: LayerInputs) -> Tensor | None:
        crosses = layer.name.endswith(".attn2")
        weight = weight_at(CROSS_WEIGHT if crosses else SELF_WEIGHT, *_moment(pipeline))
        if not weight:
            return None
        here = segments(layer.grid, layer.query.device)
        same, share = here.cross if crosses else here.itself
        row = (layer.query[-1], layer.key[-1], layer.value[-1])
        added = torch.zeros_like(layer.attended)
        added[-1] = attend_modulated(*row, layer.heads, same, share, weight) - layer.attended[-1]
        return added

    crossing = preset_layers(unet, "all")
    with visiting(unet, [*crossing, *(f"{name.removesuffix('2')}1" for name in crossing)], visit):
        yield


def _segments_of_tokens(read: PromptTokens, layout: Layout) -> Tensor | None:
    """The segment of each token (T,): its instance's number, their number for the words of none.

    None where the prompt names no instance: their cells would see no word at all.
    """
    instances = layout.active
    places = {one.id: number for number, one in enumerate(instances)}
    named = match_entities([one.entity for one in read.entities], layout)
    segment = torch.full((len(read.spans),), NO_SEGMENT)
    segment[list(read.words)] = len(instances)
    for index, place in named.items():
        segment[list(read.entities[index].tokens)] = places[layout.instances[place].id]
    there = set(segment.tolist())
    unnamed = [one.id for number, one in enumerate(instances) if number not in there]
    if len(unnamed) == len(instances):
        logger.warning(
            "The prompt names nothing of what the layout places, and is drawn as it is; for DenseDiffusion "
            "write the captions into it: %s",
            layout.prompt,
        )
        return None
    if unnamed:
        logger.warning(
            "The prompt names nothing of the instances %s: they are segments without words.",
            ", ".join(unnamed),
        )
    return segment


def _owners(regions: Regions, grid: Grid) -> Tensor:
    """The segment of each cell (L,): the front-most instance's number, their number where there is none."""
    placement = regions.place(grid)
    count = len(regions)
    if placement is None:
        return torch.full((grid[0] * grid[1],), count)
    found = owners(placement.covered.flatten(1))
    return torch.where(found < 0, count, found)


def _moment(pipeline: StableDiffusionXLPipeline) -> tuple[float, float]:
    """This step's time, 1 for noise alone and 0 for the picture, and the share of steps that are done."""
    scheduler: Any = pipeline.scheduler
    step, times, done = scheduler.step_index, scheduler.timesteps, progress_of(pipeline)
    if isinstance(scheduler, EDMEulerScheduler):
        # Its timesteps are logarithms of the noise, in a range of their own.
        return time_of_noise(float(scheduler.sigmas[step])), done
    return float(times[step]) / scheduler.config.num_train_timesteps, done


def time_of_noise(level: float) -> float:
    """The time, from 0 to 1, at which the schedule of SDXL base has so much noise over picture."""
    return float((_noise_levels() < level).float().mean())


@cache
def _noise_levels() -> Tensor:
    """Noise over picture (1000,) at each timestep of SDXL base's schedule (arXiv 2307.01952)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    kept = (1 - betas).cumprod(0)
    return ((1 - kept) / kept).sqrt()
