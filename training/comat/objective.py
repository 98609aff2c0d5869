"""Objective of CoMat: what a captioner, masks and a discriminator say of the pictures a model makes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from ...hosts.diffusers_sdxl import TextToImage
from ...models.comat import (
    Schedule,
    attribute_concentration,
    concept_loss,
    draw_schedule,
    fooling_loss,
    random_crop,
    rival_loss,
    telling_loss,
)
from ...models.comat.attention_losses import Form, LayerMaps
from ...models.comat.concept_matching import Reduction
from ...models.vision.interfaces import Segmenter
from ...models.vision.likelihood.scorer import CaptionScorer
from ..data.pictures import decode
from ..noise import noise_schedule
from .fidelity import Discriminator
from .online import Sampler
from .prompts import Conditions, PromptEncoder

GENERATOR, DISCRIMINATOR = "generator", "discriminator"


# "rivals": against other captions, by `rival_loss`; else the prompt's likelihood, reduced.
ConceptForm = Literal[Reduction, "rivals"]


@dataclass(frozen=True)
class Balance:
    """Weights of the parts, each of which is left out at 0, and the forms of the losses.

    Weights as the released code has them for Stable Diffusion 1; SDXL's `fidelity` there is 0.5.
    """

    concept: float = 1.0
    token: float = 1e-3
    pixel: float = 5e-5
    fidelity: float = 1.0
    distance: float = 0.0
    concept_form: ConceptForm = "mean"
    smoothing: float = 0.0
    token_form: Form = "released"


@dataclass(frozen=True)
class Sampling:
    """How pictures are sampled while training: DDPM's steps, those with a gradient and with attention.

    `chained` and `limit` as in `Sampler`; None for `chained` is what was published, which is Stable Diffusion
    1's alone. `until`: the share of the steps, from the noise on, among which those with a gradient are.
    """

    steps: int = 50
    guidance: float = 7.5
    gradient_steps: int = 5
    attention_steps: int = 2
    chained: bool | None = None
    limit: float = 0.0
    until: float = 1.0

    @property
    def reach(self) -> int:
        """Of how many first steps some have a gradient."""
        return max(1, round(self.steps * self.until))


class CoMatObjective(nn.Module):
    """CoMat's joint loss (arXiv 2404.03653) of pictures sampled with the UNet's LoRA on.

    The UNet has its LoRA already, and the discriminator, if there is one, its own.
    """

    def __init__(
        self,
        pipeline: TextToImage,
        balance: Balance,
        sampling: Sampling,
        captioner: CaptionScorer | None = None,
        segmenter: Segmenter | None = None,
        discriminator: Discriminator | None = None,
    ) -> None:
        super().__init__()
        self.unet: Any = pipeline.unet
        self.prompts = PromptEncoder(pipeline)
        self.vae: Any = pipeline.vae.requires_grad_(False)
        self.captioner, self.discriminator = captioner, discriminator
        self.segmenter = segmenter
        self.balance, self.sampling = balance, sampling
        self.sampler = Sampler(
            self.unet,
            noise_schedule(pipeline),
            sampling.steps,
            sampling.guidance,
            chained=not self.prompts.large if sampling.chained is None else sampling.chained,
            limit=sampling.limit,
        )
        # Latents of the generator's turn by part of the step, for the discriminator's.
        self._made: dict[int, Tensor] = {}

    def forward(
        self, batch: dict[str, Any], generator: Generator, player: str = GENERATOR
    ) -> dict[str, Tensor]:
        """batch: tokens (B, T) and empty (1, T) for each text encoder, prompts, rivals of each where the loss
        is against them, nouns and groups of each one's entities, size (height, width) in pixels, grid (h, w)
        of the latents, part of the step; with a discriminator also real latents (B, C, h, w) of the original
        model.
        """
        empty = self.prompts.encode(batch["empty"], batch["size"])
        if player == DISCRIMINATOR:
            return self.discriminate(self._made.pop(batch["part"]), batch["real"].float(), empty)
        positive = self.prompts.encode(batch["tokens"], batch["size"])
        schedule = draw_schedule(
            self.sampling.reach,
            self.sampling.gradient_steps,
            self.sampling.attention_steps,
            min(batch["size"]),
            random.Random(int(torch.randint(2**31, (), generator=generator, device=generator.device))),
        )
        shape = (len(batch["prompts"]), self.unet.config["in_channels"], *batch["grid"])

        def noise(_: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=generator.device)

        latents = noise(0)
        return self.generate(batch, latents, empty.repeated(len(latents)), positive, empty, noise, schedule)

    def generate(
        self,
        batch: dict[str, Any],
        latents: Tensor,
        negative: Conditions,
        positive: Conditions,
        judging: Conditions,
        noise: Callable[[int], Tensor],
        schedule: Schedule,
    ) -> dict[str, Tensor]:
        """The generator's loss and its parts, with initial latents and each step's noise given.

        `judging` are the discriminator's conditions of one picture.
        """
        balance, groups = self.balance, batch["groups"]
        concentrates = bool(balance.token or balance.pixel)
        tokens = sorted({token for some in groups for group in some for token in group})
        made = self.sampler(
            latents,
            negative,
            positive,
            noise,
            schedule,
            tokens if concentrates else (),
            with_distance=bool(balance.distance),
        )
        parts: dict[str, Tensor] = {}
        total = made.latents.new_zeros(())
        # Half precision overflows in SDXL's decoder.
        with torch.autocast(latents.device.type, enabled=False):
            pictures = decode(self.vae, made.latents.float() / self.vae.config["scaling_factor"]) / 2 + 0.5
        if balance.concept and self.captioner is not None:
            seen = random_crop(pictures, schedule.offsets)
            parts["concept"] = self._concept(seen, batch)
            total = total + balance.concept * parts["concept"]
        if concentrates:
            token, pixel = self._concentration(pictures, made.maps, batch["nouns"], groups, tokens)
            parts |= {"token": token, "pixel": pixel}
            total = total + balance.token * token + balance.pixel * pixel
        if balance.distance:
            parts["distance"] = made.distance
            total = total + balance.distance * made.distance
        if self.discriminator is not None:
            # A discriminator learns too: what it says of one step cannot be compared with another's.
            parts["judged"] = total
            parts["fooling"] = fooling_loss(self.discriminator(made.latents, judging))
            total = total + balance.fidelity * parts["fooling"]
            if self.training:
                self._made[batch["part"]] = made.latents.detach()
        if not any(parts[name].requires_grad for name in ("concept", "fooling") if name in parts):
            # Nothing flows back from the pictures: prompts without entities or rivals sit out, and attention
            # does not reach every layer. A gradient of 0 is one all the same, as processes exchange them.
            total = total + 0.0 * made.latents.sum()
        return {"loss": total, **{name: value.detach() for name, value in parts.items()}}

    def discriminate(self, made: Tensor, real: Tensor, empty: Conditions) -> dict[str, Tensor]:
        """The discriminator's loss, and the share of cells that it tells right."""
        assert self.discriminator is not None
        fake, original = self.discriminator(torch.cat((made, real)), empty).chunk(2)
        right = torch.cat((fake < 0, original > 0)).float().mean()
        return {"telling": telling_loss(fake, original), "told": right.detach()}

    def _concept(self, pictures: Tensor, batch: dict[str, Any]) -> Tensor:
        """What the captioner says of prompts, or of prompts against their rivals."""
        assert self.captioner is not None
        form = self.balance.concept_form
        if form != "rivals":
            said = self.captioner.likelihood(pictures, batch["prompts"])
            return concept_loss(said, form, self.balance.smoothing)
        both = [(own, *others) for own, others in zip(batch["prompts"], batch["rivals"], strict=True)]
        found = self.captioner.of_each(pictures, both)
        return rival_loss(torch.stack([one[0] for one in found]), [one[1:] for one in found])

    def _concentration(
        self,
        pictures: Tensor,
        maps: Sequence[LayerMaps],
        nouns: Sequence[Sequence[str]],
        groups: Sequence[Sequence[Sequence[int]]],
        tokens: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """Token and pixel loss; 0 for a batch without entities, and nothing of pictures without masks."""
        if self.segmenter is None or not maps:
            return pictures.new_zeros(()), pictures.new_zeros(())
        masks = self.segmenter.masks(pictures.detach().float().clamp(0, 1), nouns)
        place = {token: index for index, token in enumerate(tokens)}
        kept = [
            [[place[token] for token in group] for group in some] if mask is not None else []
            for some, mask in zip(groups, masks, strict=True)
        ]
        empty = torch.zeros(0, *pictures.shape[-2:], dtype=torch.bool)
        on_device = [(empty if mask is None else mask).to(pictures.device) for mask in masks]
        return attribute_concentration(maps, on_device, kept, self.balance.token_form)
