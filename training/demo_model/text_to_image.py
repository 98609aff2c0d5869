"""Training of the demo world's text-to-image model: UNet and both text encoders, from scratch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionXLPipeline
from torch import Generator, Tensor, nn

from ...hosts.diffusers_sdxl import generate_base
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

# Captions left out, so that guidance has something to guide away from: half become SDXL's zeros, half the
# empty caption that ComfyUI users give as a negative.
_DROP = 0.1
# Where nearly all is noise, errors of the noise are small whatever the picture; without weights a model this
# small learns textures and leaves to chance how many things there are and on what ground.
_SNR_POWER = 0.5
# Twice SDXL's: the maps are smaller, so that their means say more of the picture.
_NOISE_OFFSET = 0.1


class TextToImageObjective(nn.Module):
    """Noise prediction given captions."""

    def __init__(self, pipeline: StableDiffusionXLPipeline) -> None:
        super().__init__()
        self.unet: Any = pipeline.unet
        self.text_encoder: Any = pipeline.text_encoder
        self.text_encoder_2: Any = pipeline.text_encoder_2
        self.scheduler = DDPMScheduler(**SCHEDULE)

    def forward(self, batch: dict[str, Any], generator: Generator) -> dict[str, Tensor]:
        """batch: latents (B, 4, h, w), ids (B, T) and empty (1, T) as `TokenIds`, sizes (B, 6)."""
        latents: Tensor = batch["latents"].float()
        dropped, zeroed = (drop((len(latents),), share, generator) for share in (_DROP, 0.5))
        empty, zero = dropped & ~zeroed, dropped & zeroed
        ids = TokenIds(
            *(torch.where(empty[:, None], e, i) for e, i in zip(batch["empty"], batch["ids"], strict=True))
        )
        prompt, pooled = encode_prompts(self.text_encoder, self.text_encoder_2, ids)
        conditions = {"text_embeds": pooled * ~zero[:, None], "time_ids": batch["sizes"]}
        noisy, noise, timesteps = add_noise(latents, self.scheduler, generator, _NOISE_OFFSET)
        predicted = self.unet(noisy, timesteps, prompt * ~zero[:, None, None], added_cond_kwargs=conditions)
        errors = F.mse_loss(predicted.sample.float(), noise, reduction="none").mean(dim=(1, 2, 3))
        weights = signal_to_noise_weights(self.scheduler, timesteps, _SNR_POWER)
        return {"loss": (weights * errors).mean(), "error": errors.mean()}


class TextToImageTask(CaptionedTask[TextToImageObjective]):
    """A pipeline trained on encoded pictures.

    `related` is the share of captions with a relation among those that samples are drawn from.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        sets: Sequence[LatentSet],
        held_out: Sequence[LatentSet] = (),
        related: float = 0.0,
        encode: Callable[[], Sets] | None = None,
    ) -> None:
        super().__init__(sets, held_out, encode)
        self.pipeline, self.related = pipeline, related
        self.objective = TextToImageObjective(pipeline)
        self._freeze_unused()
        self._tokenizer = Tokenizer(pipeline)

    def _freeze_unused(self) -> None:
        # Nothing reads the first encoder beyond its penultimate layer, so no gradient ever arrives there.
        encoder: Any = self.pipeline.text_encoder
        body = getattr(encoder, "text_model", encoder)
        for module in (body.encoder.layers[-1], body.final_layer_norm):
            module.requires_grad_(False)

    def collate(self, one: LatentSet, numbers: Sequence[int]) -> dict[str, Any]:
        """Latents, token ids of the captions for both encoders, and size conditioning."""
        return {
            "latents": one.latents(numbers),
            "ids": self._tokenizer([one.document(number)["prompt"] for number in numbers]),
            "empty": self._tokenizer([""]),
            "sizes": size_conditioning([one.size] * len(numbers)),
        }

    def describe(self) -> dict[str, Any]:
        return {"task": "base", "sets": self.counted}

    def sample(self, path: Path) -> None:
        """Eight captions of known combinations above eight of combinations never seen."""
        captions, height, width = self.examples(self.related)
        save_grid(generate_base(self.pipeline, captions, height, width), 8, path)

    def export(self, folder: Path) -> None:
        """A diffusers folder."""
        self.pipeline.save_pretrained(folder)
