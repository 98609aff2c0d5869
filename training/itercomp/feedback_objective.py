"""Objective of feedback learning: what reward models think of a UNet's pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Generator, Tensor, nn

from ...models.comat import (
    NoiseSchedule,
    ancestral_step,
    clean_prediction,
    fooling_loss,
    telling_loss,
)
from ...models.rewards import RewardModel, RewardTokenizer, prepare_decoded
from ..comat.fidelity import Discriminator
from ..comat.lora import without_lora
from ..comat.prompts import Conditions
from ..data.pictures import decode, posterior
from ..data.text import encode_prompts
from ..noise import add_noise, noise_schedule, training_target
from .ranked_pictures import ranked_loss

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
# The released code's, which are those of ReFL (ImageReward, arXiv 2304.05977): a picture is sampled up to one
# of the last ten of forty steps.
STEPS, FIRST_LAST = 40, 30
_LOSS_SCALE = 1e-3
# Where nearly all is noise it is settled what is where, which is what rankings are about.
_TIMESTEP_POWER = 0.5


class AspectReward(NamedTuple):
    """The reward model of one aspect and how it reads prompts."""

    aspect: str
    model: RewardModel
    tokenizer: RewardTokenizer


@dataclass(frozen=True)
class FeedbackForm:
    """What is asked of pictures, and how they are sampled; the defaults are the released code's.

    A reward counts up to `cap`, in deviations above the mean, with its aspect's weight (1 where none is
    given) times `reward`; where that is 0 nothing is sampled. `guidance` 1 is none. Beside one aspect's
    shortfall `ranking` weighs what rankings say of their pictures, as far as `reach`, `fidelity` a
    discriminator's opinion, `distance` the squared distance of the last prediction from the original model's.
    """

    guidance: float = 1.0
    cap: float = 2.0
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    reward: float = 1.0
    ranking: float = 0.0
    reach: float = 1.0
    fidelity: float = 0.0
    distance: float = 0.0


class FeedbackObjective(nn.Module):
    """The mean over pictures of sum over aspects of max(0, 2 - normalised reward), times 1e-3.

    Only the UNet is trained, through one of the last sampling steps, the decoder and the reward models; all
    steps before are without gradient. `original` is the UNet before any training, where it is asked for and
    the UNet has no LoRA that could be switched off. `start` is the one this training begins with, where
    rankings ask for it and it is not the original.

    Source: IterComp (arXiv 2410.07171), multi-reward feedback learning, as the released code does it.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        rewards: Sequence[AspectReward],
        form: FeedbackForm | None = None,
        *,
        discriminator: Discriminator | None = None,
        original: nn.Module | None = None,
        start: nn.Module | None = None,
        lora: bool = False,
    ) -> None:
        super().__init__()
        self.form, self.lora = form or FeedbackForm(), lora
        self.unet: Any = pipeline.unet if lora else pipeline.unet.requires_grad_(True)
        self.text_encoder: Any = pipeline.text_encoder.requires_grad_(False)
        self.text_encoder_2: Any = pipeline.text_encoder_2.requires_grad_(False)
        self.vae: Any = pipeline.vae.requires_grad_(False)
        self.rewards: Any = nn.ModuleList(one.model.requires_grad_(False) for one in rewards)
        self.aspects = [one.aspect for one in rewards]
        self.scheduler: Any = noise_schedule(pipeline)
        self.discriminator, self.original, self.start = discriminator, original, start
        # Latents of the generator's turn by part of the step, for the discriminator's.
        self._made: dict[int, Tensor] = {}
        # Latents of ranked pictures by their numbers: they come again every few steps.
        self._latents: dict[int, Tensor] = {}

    def train(self, mode: bool = True) -> FeedbackObjective:
        """Training mode for what is trained alone: dropout in a reward model would be noise in what it
        says."""
        super().train(mode)
        self.rewards.eval()
        return self

    def forward(
        self, batch: dict[str, Any], generator: Generator, player: str = GENERATOR
    ) -> dict[str, Tensor]:
        """batch: ids (B, T) and empty (1, T) as `TokenIds`, sizes (B, 6), grid (h, w) of the latents, part of
        the step, and for each reward `read`: input_ids and attention_mask, both (B, T); with a discriminator
        also real latents (B, C, h, w) of the original model, with rankings `ranked` as in `rank`.
        """
        if not self.form.reward:
            found = {"loss": batch["sizes"].new_zeros(())}
        else:
            empty = self.encode(batch["empty"], batch["sizes"][:1])
            if player == DISCRIMINATOR:
                return self.discriminate(self._made.pop(batch["part"]), batch["real"].float(), empty)
            positive = self.encode(batch["ids"], batch["sizes"])
            latents, noise = self.draw_noise(len(positive.prompt), batch["grid"], generator)
            last = int(torch.randint(FIRST_LAST, STEPS, (), generator=generator, device=latents.device))
            found = self.judge(batch, latents, noise, last, positive, empty)
        if "ranked" in batch:
            ranked = self.rank(batch["ranked"], generator)
            found["loss"] = found["loss"] + _LOSS_SCALE * self.form.ranking * ranked
            found["ranked"] = ranked.detach()
        return found

    def rank(self, ranked: Mapping[str, Any], generator: Generator) -> Tensor:
        """What ranked pictures say: ids (P, T) of prompts, sizes (P, 6), pictures (R, 3, H, W) from -1 to 1,
        and of each its number, the place of its prompt, and its advantage, all (R,).
        """
        clean = self._encode_once(ranked["numbers"].tolist(), ranked["pictures"])
        given = self.encode(ranked["ids"], ranked["sizes"]).rows(ranked["prompts"])
        # Pictures of a prompt share noise and its level: advantages add up to zero, so that what predictions
        # of them have in common cancels out, and their differences are left.
        some = clean.new_zeros((len(ranked["sizes"]), *clean.shape[1:]))
        _, noise, timesteps = add_noise(some, self.scheduler, generator, timestep_power=_TIMESTEP_POWER)
        noise, timesteps = noise[ranked["prompts"]], timesteps[ranked["prompts"]]
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        target = training_target(clean, noise, self.scheduler, timesteps)
        before = self._at_the_start(noisy, timesteps, given)
        return ranked_loss(
            _call(self.unet, noisy, timesteps, given), before, target, ranked["advantages"], self.form.reach
        )

    @torch.no_grad()
    def _encode_once(self, numbers: Sequence[int], pictures: Tensor) -> Tensor:
        """Latents of pictures (R, 3, H, W) by their numbers; each is encoded alone, when it first comes."""
        for number, picture in zip(numbers, pictures, strict=True):
            if number not in self._latents:
                with torch.autocast(self.vae.device.type, enabled=False):
                    found = posterior(self.vae, picture[None].to(self.vae.dtype)).mean[0].float()
                self._latents[number] = (found * self.vae.config["scaling_factor"]).cpu()
        return torch.stack([self._latents[number] for number in numbers]).to(pictures.device)

    def judge(
        self,
        batch: Mapping[str, Any],
        latents: Tensor,
        noise: Callable[[int], Tensor],
        last: int,
        positive: Conditions,
        empty: Conditions,
    ) -> dict[str, Tensor]:
        """The loss and its parts, with initial latents, each step's noise and the last step given; `empty`
        are the conditions of one picture.
        """
        form = self.form
        clean, distance = self.sample(latents, noise, last, positive, empty, bool(form.distance))
        # Half precision overflows in SDXL's decoder.
        with torch.autocast(clean.device.type, enabled=False):
            decoded = decode(self.vae, clean / self.vae.config["scaling_factor"])
            scores = {
                aspect: model.score(prepare_decoded(decoded, model.config.image_size), *read)
                for aspect, model, read in zip(self.aspects, self.rewards, batch["read"], strict=True)
            }
        lacking = [
            form.weights.get(aspect, 1.0) * (form.cap - score).relu() for aspect, score in scores.items()
        ]
        total = form.reward * torch.stack(lacking).sum(dim=0).mean()
        parts = {aspect: score.mean().detach() for aspect, score in scores.items()}
        if form.distance:
            total = total + form.distance * distance
            parts["distance"] = distance.detach()
        if self.discriminator is not None:
            # A discriminator learns too: what it says of one step cannot be compared with another's.
            parts["judged"] = total.detach() * _LOSS_SCALE
            fooling = fooling_loss(self.discriminator(clean, empty))
            total = total + form.fidelity * fooling
            parts["fooling"] = fooling.detach()
            if self.training:
                self._made[batch["part"]] = clean.detach()
        return {"loss": total * _LOSS_SCALE, **parts}

    def sample(
        self,
        latents: Tensor,
        noise: Callable[[int], Tensor],
        last: int,
        positive: Conditions,
        empty: Conditions,
        with_distance: bool = False,
        unet: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Clean latents (B, C, h, w) as step `last` predicts them, that step alone with a gradient, and the
        mean squared distance of its prediction from the original's (0 if it is not asked for). `unet` takes
        the place of the one in training.
        """
        unet = self.unet if unet is None else unet
        self.scheduler.set_timesteps(STEPS)
        schedule = NoiseSchedule(self.scheduler.alphas_cumprod, self.scheduler.config["prediction_type"])
        steps: list[int] = self.scheduler.timesteps.tolist()
        empty = empty.repeated(len(latents))
        with torch.no_grad():
            for number, timestep in enumerate(steps[:last]):
                predicted = self._predict(unet, latents, timestep, positive, empty)
                following = steps[number + 1]
                latents = ancestral_step(schedule, predicted, latents, timestep, following, noise(number))
        # Mixed precision keeps the halves of weights that it made without gradients; used again they would
        # cut the UNet off from its gradient.
        torch.clear_autocast_cache()
        predicted = self._predict(unet, latents, steps[last], positive, empty)
        distance = latents.new_zeros(())
        if with_distance:
            with torch.no_grad(), without_lora(self.unet) if self.lora else nullcontext():
                before = self.unet if self.lora else self.original
                original = self._predict(before, latents, steps[last], positive, empty)
            distance = (predicted - original).square().mean()
        return clean_prediction(schedule, predicted, latents, steps[last]), distance

    def discriminate(self, made: Tensor, real: Tensor, empty: Conditions) -> dict[str, Tensor]:
        """The discriminator's loss, and the share of cells that it tells right."""
        assert self.discriminator is not None
        fake, original = self.discriminator(torch.cat((made, real)), empty).chunk(2)
        right = torch.cat((fake < 0, original > 0)).float().mean()
        return {"telling": telling_loss(fake, original), "told": right.detach()}

    @torch.no_grad()
    def encode(self, ids: Any, sizes: Tensor) -> Conditions:
        """Conditions of prompts as token ids (B, T), for pictures of these sizes (B, 6)."""
        prompt, pooled = encode_prompts(self.text_encoder, self.text_encoder_2, ids)
        return Conditions(prompt, {"text_embeds": pooled, "time_ids": sizes})

    def draw_noise(
        self, count: int, grid: tuple[int, int], generator: Generator
    ) -> tuple[Tensor, Callable[[int], Tensor]]:
        """Initial latents, and the noise of each step when it is asked for."""
        shape = (count, self.unet.config["in_channels"], *grid)

        def noise(_: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=generator.device)

        return noise(0), noise

    @torch.no_grad()
    def _at_the_start(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """What the model predicts with the prompt when this training begins."""
        if self.start is not None:
            return _call(self.start, latents, timesteps, conditions)
        with without_lora(self.unet) if self.lora else nullcontext():
            return _call(self.unet if self.lora else self.original, latents, timesteps, conditions)

    def _predict(
        self, unet: Any, latents: Tensor, timestep: int, positive: Conditions, empty: Conditions
    ) -> Tensor:
        if self.form.guidance == 1:
            return _call(unet, latents, timestep, positive)
        without = _call(unet, latents, timestep, empty)
        return without + self.form.guidance * (_call(unet, latents, timestep, positive) - without)


def _call(unet: Any, latents: Tensor, timestep: int | Tensor, conditions: Conditions) -> Tensor:
    return unet(latents, timestep, conditions.prompt, added_cond_kwargs=conditions.added).sample.float()
