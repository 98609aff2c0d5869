"""Sampling of a model in training: some steps with a gradient, attention recorded at some of those.

Source: CoMat (arXiv 2404.03653); which parts carry a gradient, from its released code.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from ...hosts.diffusers_sdxl import preset_layers, probabilities_of, record_projections
from ...models.comat import NoiseSchedule, Schedule, ancestral_step
from ...models.comat.attention_losses import LayerMaps
from .lora import without_lora
from .prompts import Conditions

# A step with no gradient at all, as the original model and samples are drawn.
NO_GRADIENT = Schedule((), (), (0, 0))


class Online(NamedTuple):
    """Latents with a gradient, the attention maps of each recorded step, and the mean squared distance of the
    predictions at gradient steps from the original model's (0 if it is not asked for).
    """

    latents: Tensor
    maps: list[LayerMaps]
    distance: Tensor


@dataclass(frozen=True, eq=False)
class Sampler:
    """DDPM with guidance, in so many steps.

    `chained`: a UNet's input keeps its gradient, so that it also flows through the earlier calls, as the
    released code has it for Stable Diffusion 1; else it flows through the scheduler's updates alone.
    `limit`: how large a picture's gradient may become on its way back from step to step, as a multiple of
    what it is at the clean latents; 0 limits nothing.
    """

    unet: Any
    scheduler: DDPMScheduler
    steps: int
    guidance: float
    chained: bool = False
    limit: float = 0.0

    def __call__(
        self,
        latents: Tensor,
        negative: Conditions,
        positive: Conditions,
        noise: Callable[[int], Tensor],
        schedule: Schedule = NO_GRADIENT,
        tokens: Sequence[int] = (),
        with_distance: bool = False,
    ) -> Online:
        """Clean latents from noise (B, C, h, w); `noise` gives that of a step by its number.

        `tokens` are those whose attention is recorded. Needs a gradient enabled if the schedule has one.
        """
        self.scheduler.set_timesteps(self.steps)
        scheduler: Any = self.scheduler
        alphas = NoiseSchedule(scheduler.alphas_cumprod, scheduler.config["prediction_type"])
        both = _both(negative, positive)
        maps: list[LayerMaps] = []
        distances: list[Tensor] = []
        timesteps: list[int] = scheduler.timesteps.tolist()
        limited = _GradientLimit(self.limit)
        for number, timestep in enumerate(timesteps):
            learns = number in schedule.gradient_steps
            given = latents if self.chained and learns else latents.detach()
            if learns:
                # Mixed precision keeps the halves of weights that it made without gradients; used again they
                # would cut the LoRA off from its gradient.
                torch.clear_autocast_cache()
            with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
                if number in schedule.attention_steps and tokens:
                    predicted, recorded = self._recorded(given, timestep, negative, positive, tokens)
                    maps.append(recorded)
                else:
                    predicted = self._guided(self._predict(given.repeat(2, 1, 1, 1), timestep, both))
            if learns and with_distance:
                with torch.no_grad(), without_lora(self.unet):
                    original = self._guided(self._predict(given.repeat(2, 1, 1, 1), timestep, both))
                distances.append((predicted - original).square().mean())
            previous = timesteps[number + 1] if number + 1 < len(timesteps) else -1
            latents = ancestral_step(alphas, predicted, latents, timestep, previous, noise(number))
            if self.limit and latents.requires_grad:
                latents.register_hook(limited if previous >= 0 else limited.start)
        distance = torch.stack(distances).mean() if distances else latents.new_zeros(())
        return Online(latents, maps, distance)

    @property
    def last_timestep(self) -> int:
        """The timestep of the last step, where latents are almost clean."""
        self.scheduler.set_timesteps(self.steps)
        return int(self.scheduler.timesteps[-1])

    def _predict(self, latents: Tensor, timestep: int, conditions: Conditions) -> Tensor:
        options = {} if conditions.added is None else {"added_cond_kwargs": conditions.added}
        return self.unet(latents, timestep, conditions.prompt, **options).sample.float()

    def _guided(self, both: Tensor) -> Tensor:
        without, with_prompt = both.chunk(2)
        return without + self.guidance * (with_prompt - without)

    def _recorded(
        self,
        latents: Tensor,
        timestep: int,
        negative: Conditions,
        positive: Conditions,
        tokens: Sequence[int],
    ) -> tuple[Tensor, LayerMaps]:
        """The guided prediction in two calls, and the maps of the one with the prompt."""
        with record_projections(self.unet, preset_layers(self.unet)) as layers:
            with_prompt = self._predict(latents, timestep, positive)
        maps: dict[Hashable, list[Tensor]] = {}
        for layer in layers:
            # Middle and decoder count apart, even where their maps are of one size.
            stage = layer.name.partition("_")[0]
            maps.setdefault((stage, layer.grid), []).append(probabilities_of(layer, tokens))
        without = self._predict(latents, timestep, negative)
        return self._guided(torch.cat((without, with_prompt))), maps


class _GradientLimit:
    """Hooks that keep each picture's gradient below a multiple of what it begins with.

    Guided calls in a chain may multiply one picture's gradient a hundredfold, and a batch's step would then
    follow that picture alone. A picture whose clean latents have no gradient (only its attention or its
    distance is asked about) begins with the first one on its way back.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.most: Tensor | None = None

    def start(self, gradient: Tensor) -> Tensor:
        """Of clean latents, where the way back begins."""
        self.most = self.factor * gradient.flatten(1).norm(dim=1)
        return gradient

    def __call__(self, gradient: Tensor) -> Tensor:
        norms = gradient.flatten(1).norm(dim=1)
        most = torch.zeros_like(norms) if self.most is None else self.most
        share = (most / norms.clamp(min=torch.finfo(norms.dtype).tiny)).clamp(max=1)
        # Where it begins here it stays as it is.
        share = torch.where(most > 0, share, 1.0)
        self.most = torch.where(most > 0, most, self.factor * norms)
        return gradient * share.view(-1, *[1] * (gradient.dim() - 1))


def _both(negative: Conditions, positive: Conditions) -> Conditions:
    """Conditions of a batch with the unconditional rows first."""
    prompt = torch.cat((negative.prompt, positive.prompt))
    if negative.added is None or positive.added is None:
        return Conditions(prompt, None)
    added = {name: torch.cat((one, positive.added[name])) for name, one in negative.added.items()}
    return Conditions(prompt, added)
