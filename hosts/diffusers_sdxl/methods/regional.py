"""Training-free regions in diffusers: MultiDiffusion, RPG and Omost around the plain sampler.

All change what the UNet gives on the conditional row of a guided pair, and nothing else: the sampler, its
noise and the unconditional row are those of the plain prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from ....generation.jobs import Job
from ....models.baselines.regional import (
    BASE_RATIO,
    BOOTSTRAP,
    attend_by_region,
    attend_jointly,
    average_predictions,
    surround,
)
from ....models.regions import Regions
from ..concentration import preset_layers
from ..layer_hooks import LayerInputs, visiting
from .predictions import replaced_forward


@dataclass(frozen=True, eq=False)
class RegionalPrompts:
    """Prompts of the active instances: text (P, T, D), pooled (P, E), and their regions."""

    text: Tensor
    pooled: Tensor
    regions: Regions

    @classmethod
    @torch.no_grad()
    def encode(cls, pipeline: StableDiffusionXLPipeline, job: Job) -> RegionalPrompts:
        """The prompts of a layout's active instances: the job's `sentences`, else their captions."""
        layout = job.layout
        prompts: Any = list(job.options.get("sentences") or [one.caption for one in layout.active])
        text, _, pooled, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False)
        return cls(text, pooled, Regions.from_layout(layout))

    def covered(self, grid: tuple[int, int], device: Any) -> Tensor:
        """The cells of each region on a grid: bool (P, h, w)."""
        placement = self.regions.place(grid)
        if placement is None:
            return torch.zeros(len(self.text), *grid, dtype=torch.bool, device=device)
        return placement.covered.to(device)


@contextmanager
def multidiffusion(
    pipeline: StableDiffusionXLPipeline, prompts: RegionalPrompts, seed: int, steps: int
) -> Iterator[None]:
    """Inside the `with` block the conditional prediction is MultiDiffusion's."""
    noise = torch.Generator("cpu").manual_seed(seed)
    colors: list[Tensor] = []
    step = 0

    def averaged(forward: Any, sample: Tensor, timestep: Any, prompt: Tensor, **others: Any) -> Any:
        nonlocal step
        found = forward(sample, timestep, prompt, **others)
        whole = found[0]
        row = sample[-1]
        covered = prompts.covered((row.shape[-2], row.shape[-1]), row.device)
        seen = row.expand(len(covered), *row.shape)
        if step < BOOTSTRAP * steps:
            if not colors:
                colors.append(_plain_colors(pipeline, len(covered), row, noise))
            drawn = torch.randn(seen.shape, generator=noise).to(row)
            seen = surround(row, _at_this_noise(pipeline, colors[0], drawn, timestep), covered)
        step += 1
        conditions = others.pop("added_cond_kwargs")
        times = conditions["time_ids"][-1:].expand(len(covered), -1)
        added = {"text_embeds": prompts.pooled.to(row), "time_ids": times}
        parts = forward(seen, timestep, prompts.text.to(row), added_cond_kwargs=added, **others)[0]
        averaged_row = average_predictions(whole[-1], parts, covered)
        return (torch.cat((whole[:-1], averaged_row[None])), *found[1:])

    with replaced_forward(pipeline.unet, averaged):
        yield


@contextmanager
def rpg(pipeline: StableDiffusionXLPipeline, prompts: RegionalPrompts) -> Iterator[None]:
    """Inside the `with` block every cross-attention layer attends by region, as RPG's regional diffusion."""

    def attend(layer: LayerInputs, keys: Tensor, values: Tensor, covered: Tensor) -> Tensor:
        whole = layer.attended[-1]
        return attend_by_region(layer.query[-1], keys, values, layer.heads, whole, covered, BASE_RATIO)

    with _attending(pipeline, prompts, attend):
        yield


@contextmanager
def omost(pipeline: StableDiffusionXLPipeline, prompts: RegionalPrompts) -> Iterator[None]:
    """Inside the `with` block cells attend to the whole prompt and their regions' at once, as Omost's."""

    def attend(layer: LayerInputs, keys: Tensor, values: Tensor, covered: Tensor) -> Tensor:
        everywhere = torch.ones_like(covered[:1])
        return attend_jointly(
            layer.query[-1],
            torch.cat((layer.key[-1:], keys)),
            torch.cat((layer.value[-1:], values)),
            layer.heads,
            torch.cat((everywhere, covered)),
        )

    with _attending(pipeline, prompts, attend):
        yield


@contextmanager
def _attending(
    pipeline: StableDiffusionXLPipeline,
    prompts: RegionalPrompts,
    attend: Callable[[LayerInputs, Tensor, Tensor, Tensor], Tensor],
) -> Iterator[None]:
    """Inside the `with` block the conditional row's cross-attention is what `attend` makes of it.

    It gets a layer's inputs, keys and values (P, T, C) of the captions, and the cells (P, L) that they cover.
    """
    unet: Any = pipeline.unet

    def visit(layer: LayerInputs) -> Tensor:
        attention = unet.get_submodule(layer.name)
        text = prompts.text.to(layer.query)
        # The layer's projections are hooked; these calls are seen too, after its own, and replace nothing.
        keys, values = attention.to_k(text), attention.to_v(text)
        covered = prompts.covered(layer.grid, layer.query.device).flatten(1)
        added = torch.zeros_like(layer.attended)
        added[-1] = attend(layer, keys, values, covered) - layer.attended[-1]
        return added

    with visiting(unet, preset_layers(unet, "all"), visit):
        yield


def _plain_colors(
    pipeline: StableDiffusionXLPipeline, count: int, like: Tensor, noise: torch.Generator
) -> Tensor:
    """A plain picture of a random colour for each region, as latents (P, C, h, w)."""
    vae: Any = pipeline.vae
    pixels = torch.rand(count, 3, 1, 1, generator=noise) * 2 - 1
    side = pipeline.vae_scale_factor
    pictures = pixels.expand(-1, -1, like.shape[-2] * side, like.shape[-1] * side)
    # SDXL's own overflows in float16, as its config says; so do diffusers' pipelines encode.
    dtype = vae.dtype
    upcast = dtype == torch.float16 and vae.config.force_upcast
    try:
        if upcast:
            vae.to(torch.float32)
        with torch.no_grad():
            encoded = vae.encode(pictures.to(vae.device, vae.dtype)).latent_dist.mode()
    finally:
        if upcast:
            vae.to(dtype)
    return (encoded * vae.config.scaling_factor).to(like)


def _at_this_noise(
    pipeline: StableDiffusionXLPipeline, latents: Tensor, noise: Tensor, timestep: Any
) -> Tensor:
    """Latents with as much noise as this step's, scaled as the UNet gets them."""
    scheduler: Any = pipeline.scheduler
    sigma = scheduler.sigmas[scheduler.step_index].to(latents)
    return scheduler.scale_model_input(latents + sigma * noise, timestep)
