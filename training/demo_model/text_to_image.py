"""Training of the demo world's text-to-image model: UNet and both text encoders, from scratch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionXLPipeline
from torch import Generator, Tensor, nn

from ...hosts.diffusers_sdxl import generate_base
from ...shapes_world import contradict, unrelate
from ..data.latents import LatentSet
from ..data.pictures import save_grid
from ..data.text import TokenIds, Tokenizer, encode_prompts
from ..noise import (
    SCHEDULE,
    add_noise,
    drop,
    signal_to_noise_weights,
    size_conditioning,
)
from .captioned import CaptionedTask, Sets
from .sides import sided

# Captions left out, so that guidance has something to guide away from: half become SDXL's zeros, half the
# empty caption that ComfyUI users give as a negative.
_DROP = 0.1
# Where nearly all is noise, errors of the noise are small whatever the picture; without weights a model this
# small learns textures and leaves to chance how many things there are and on what ground.
_SNR_POWER = 0.5
# Twice SDXL's: the maps are smaller, so that their means say more of the picture.
_NOISE_OFFSET = 0.1
# The plain loss never began to learn relations: after 6,000 steps a caption and its opposite had the same
# error. A relation changes the expected picture only together with both things it is between, so its share of
# the gradient is lost in what differs from picture to picture. Taking the error given the opposite, on the
# same noise, takes that away: it is to be larger than the caption's own, by about this share of it.
_MARGIN = 0.05
# At earlier timesteps the picture itself shows what is where.
_EARLIEST = 300
# Adapters, LoRAs and the transformer read these encoders too: what captions without a relation are encoded as
# is to stay. The weight is of the mean squared change, as a share of the variance.
_STAY = 1.0
# Relative errors are of at least this, or the nearly clean would outweigh the rest.
_LEAST_ERROR = 0.01


class TextToImageObjective(nn.Module):
    """Noise prediction given captions; `contrast` is the weight of telling them from their opposites.

    A `timestep_power` below 1 learns more from timesteps where nearly all is noise.
    """

    def __init__(
        self, pipeline: StableDiffusionXLPipeline, contrast: float = 0.0, timestep_power: float = 1.0
    ) -> None:
        super().__init__()
        self.contrast, self.timestep_power = contrast, timestep_power
        self.unet: Any = pipeline.unet
        self.text_encoder: Any = pipeline.text_encoder
        self.text_encoder_2: Any = pipeline.text_encoder_2
        self.scheduler = DDPMScheduler(**SCHEDULE)

    def forward(self, batch: dict[str, Any], generator: Generator) -> dict[str, Tensor]:
        """batch: latents (B, 4, h, w), ids (B, T) and empty (1, T) as `TokenIds`, sizes (B, 6).

        Of captions with a relation, `contradicted` are the ids with the opposite one, (R, T), and `related`
        says which rows those are, (R); both are left out where there is none. `unrelated` are the ids of
        captions (P, T) whose encoding is to stay `as_before`: states (P, T, D) and pooled output (P, E).
        """
        latents: Tensor = batch["latents"].float()
        dropped, zeroed = (drop((len(latents),), share, generator) for share in (_DROP, 0.5))
        empty, zero = dropped & ~zeroed, dropped & zeroed
        ids = TokenIds(
            *(torch.where(empty[:, None], e, i) for e, i in zip(batch["empty"], batch["ids"], strict=True))
        )
        noisy, noise, timesteps = add_noise(
            latents, self.scheduler, generator, _NOISE_OFFSET, self.timestep_power
        )
        errors = self._errors(noisy, noise, timesteps, ids, batch["sizes"], ~zero)
        weights = signal_to_noise_weights(self.scheduler, timesteps, _SNR_POWER)
        report = {"loss": (weights * errors).mean(), "error": errors.mean()}
        if "unrelated" in batch:
            moved = self._moved(batch["unrelated"], *batch["as_before"])
            report = {**report, "loss": report["loss"] + _STAY * moved, "moved": moved}
        if "related" not in batch:
            return report
        hidden = ~dropped & (timesteps >= _EARLIEST)
        contrast = self._contrast(batch, errors, noisy, noise, timesteps, hidden[batch["related"]])
        return {**report, "loss": report["loss"] + self.contrast * contrast, "contrast": contrast}

    def _contrast(
        self,
        batch: dict[str, Any],
        errors: Tensor,
        noisy: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        chosen: Tensor,
    ) -> Tensor:
        """The batch's mean of how far the `chosen` are from a larger error given the opposite."""
        rows = batch["related"][chosen]
        if not len(rows):
            return errors.new_zeros(())
        ids = TokenIds(*(one[chosen] for one in batch["contradicted"]))
        kept = torch.ones_like(rows, dtype=torch.bool)
        wrong = self._errors(noisy[rows], noise[rows], timesteps[rows], ids, batch["sizes"][rows], kept)
        right = errors[rows]
        above = (wrong - right) / right.detach().clamp(min=_LEAST_ERROR)
        return F.softplus(-above / _MARGIN).sum() / len(errors)

    def _moved(self, ids: TokenIds, *before: Tensor) -> Tensor:
        """The mean squared change of what both encoders say, as a share of the variance."""
        now = encode_prompts(self.text_encoder, self.text_encoder_2, ids)
        changes = [F.mse_loss(new, old) / old.var() for new, old in zip(now, before, strict=True)]
        return torch.stack(changes).mean()

    def _errors(
        self, noisy: Tensor, noise: Tensor, timesteps: Tensor, ids: TokenIds, sizes: Tensor, kept: Tensor
    ) -> Tensor:
        """Mean squared errors of the predicted noise (B); captions that are not `kept` (B) are zeros."""
        prompt, pooled = encode_prompts(self.text_encoder, self.text_encoder_2, ids)
        conditions = {"text_embeds": pooled * kept[:, None], "time_ids": sizes}
        predicted = self.unet(noisy, timesteps, prompt * kept[:, None, None], added_cond_kwargs=conditions)
        return F.mse_loss(predicted.sample.float(), noise, reduction="none").mean(dim=(1, 2, 3))


class TextToImageTask(CaptionedTask[TextToImageObjective]):
    """A pipeline trained on encoded pictures.

    `related` is the share of captions with a relation among those that samples are drawn from; with any, the
    encoders are held to what they say of captions without one, and `contrast` is the weight of telling a
    relation from its opposite, `timestep_power` that of `add_noise`. With `sides`, captions of pictures of
    one thing say on which side of the middle it is.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        sets: Sequence[LatentSet],
        held_out: Sequence[LatentSet] = (),
        related: float = 0.0,
        encode: Callable[[], Sets] | None = None,
        sides: bool = False,
        contrast: float = 0.0,
        timestep_power: float = 1.0,
    ) -> None:
        super().__init__(sets, held_out, encode)
        self.pipeline, self.related, self.sides = pipeline, related, sides
        self.objective = TextToImageObjective(pipeline, contrast, timestep_power)
        self._freeze_unused()
        self._tokenizer = Tokenizer(pipeline)
        self._encoders_before: tuple[Any, Any] | None = None
        if related:
            first, second = copy.deepcopy((pipeline.text_encoder, pipeline.text_encoder_2))
            self._encoders_before = (first.requires_grad_(False), second.requires_grad_(False))

    def _freeze_unused(self) -> None:
        # Nothing reads the first encoder beyond its penultimate layer, so no gradient ever arrives there.
        encoder: Any = self.pipeline.text_encoder
        body = getattr(encoder, "text_model", encoder)
        for module in (body.encoder.layers[-1], body.final_layer_norm):
            module.requires_grad_(False)

    def collate(self, one: LatentSet, numbers: Sequence[int]) -> dict[str, Any]:
        """Latents, token ids of the captions for both encoders, and size conditioning."""
        documents = [one.document(number) for number in numbers]
        captions = [document["prompt"] for document in documents]
        if self.sides:
            captions = [
                sided(document, turned=number % 2 == 1)
                for document, number in zip(documents, numbers, strict=True)
            ]
        batch: dict[str, Any] = {
            "latents": one.latents(numbers),
            "ids": self._tokenizer(captions),
            "empty": self._tokenizer([""]),
            "sizes": size_conditioning([one.size] * len(numbers)),
        }
        opposites = [contradict(one) for one in captions]
        related = [
            row for row, (one, other) in enumerate(zip(captions, opposites, strict=True)) if one != other
        ]
        if related:
            batch["related"] = torch.tensor(related)
            batch["contradicted"] = self._tokenizer([opposites[row] for row in related])
        if self._encoders_before is not None:
            # Whole captions, and those of single things, which adapters read; a quarter of the batch of each,
            # for texts cost as much as small pictures.
            whole = [unrelate(document["prompt"]) for document in documents[::4]]
            phrases = [document["instances"][0]["caption"] for document in documents[::4]]
            batch["unrelated"] = self._tokenizer([*whole, *phrases])
            with torch.no_grad():
                batch["as_before"] = encode_prompts(*self._encoders_before, batch["unrelated"])
        return batch

    def describe(self) -> dict[str, Any]:
        return {"task": "base", "sets": self.counted}

    def sample(self, path: Path) -> None:
        """Eight captions of known combinations above eight of combinations never seen."""
        captions, height, width = self.examples(self.related)
        save_grid(generate_base(self.pipeline, captions, height, width), 8, path)

    def export(self, folder: Path) -> None:
        """A diffusers folder."""
        self.pipeline.save_pretrained(folder)
