"""Training the demo world's text-to-image model: UNet and both text encoders, from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionXLPipeline
from torch import Generator, Tensor, nn

from ..latents import Buckets, LatentSet
from ..noise import add_noise, drop, signal_to_noise_weights, size_conditioning
from ..pictures import save_grid
from ..shapes_world import ShapesWorld
from ..shapes_world.pipeline import SCHEDULE
from ..task import Place

# Captions left out, so that guidance has something to guide away from: half become SDXL's zeros, half the
# empty caption that ComfyUI users give as a negative.
_DROP = 0.1
# Min-SNR weighting as its authors recommend; without it most of the effort goes into nearly clean latents.
_SNR_LIMIT = 5.0


class BaseObjective(nn.Module):
    """Noise prediction given captions."""

    def __init__(self, pipeline: StableDiffusionXLPipeline) -> None:
        super().__init__()
        self.unet = pipeline.unet
        self.text_encoder = pipeline.text_encoder
        self.text_encoder_2 = pipeline.text_encoder_2
        self.scheduler = DDPMScheduler(**SCHEDULE)

    def forward(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """batch: latents (B, 4, h, w), ids and ids_2 (B, T), empty and empty_2 (1, T), sizes (B, 6)."""
        latents = batch["latents"].float()
        rows = len(latents)
        dropped, zeroed = (drop((rows,), share, generator) for share in (_DROP, 0.5))
        empty, zero = dropped & ~zeroed, dropped & zeroed
        ids, ids_2 = (
            torch.where(empty[:, None], batch[f"empty{end}"], batch[f"ids{end}"]) for end in ("", "_2")
        )
        prompt, pooled = self._encode(ids, ids_2)
        prompt, pooled = prompt * ~zero[:, None, None], pooled * ~zero[:, None]
        noisy, noise, timesteps = add_noise(latents, self.scheduler, generator)
        predicted = self.unet(
            noisy,
            timesteps,
            encoder_hidden_states=prompt,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": batch["sizes"]},
        ).sample
        errors = F.mse_loss(predicted.float(), noise, reduction="none").mean(dim=(1, 2, 3))
        weights = signal_to_noise_weights(self.scheduler, timesteps, _SNR_LIMIT)
        return {"loss": (weights * errors).mean(), "error": errors.mean()}

    def _encode(self, ids: Tensor, ids_2: Tensor) -> tuple[Tensor, Tensor]:
        """What SDXL conditions on: penultimate states of both encoders, pooled output of the second."""
        first = self.text_encoder(ids, output_hidden_states=True)
        second = self.text_encoder_2(ids_2, output_hidden_states=True)
        return torch.cat((first.hidden_states[-2], second.hidden_states[-2]), dim=-1), second.text_embeds


class BaseTask:
    """A pipeline trained on encoded pictures of one or several sizes."""

    def __init__(self, pipeline: StableDiffusionXLPipeline, sets: Sequence[LatentSet]) -> None:
        self.pipeline = pipeline
        self.objective = BaseObjective(pipeline)
        self._freeze_unused()
        self.buckets = Buckets(sets)
        self._ids: dict[str, tuple[Tensor, Tensor]] = {}

    def _freeze_unused(self) -> None:
        # Nothing reads the first encoder beyond its penultimate layer, so no gradient ever arrives there.
        encoder: Any = self.pipeline.text_encoder
        body = getattr(encoder, "text_model", encoder)
        for module in (body.encoder.layers[-1], body.final_layer_norm):
            module.requires_grad_(False)

    def batch(self, place: Place, size: int, seed: int) -> dict[str, Tensor]:
        """Latents, token ids of the captions for both encoders, and size conditioning."""
        one, numbers = self.buckets.choose(place.number, size, seed)
        prompts = [one.documents[number]["prompt"] for number in numbers]
        pairs = [self.tokenize(prompt) for prompt in prompts]
        empty = self.tokenize("")
        return {
            "latents": one.latents[numbers],
            "ids": torch.stack([first for first, _ in pairs]),
            "ids_2": torch.stack([second for _, second in pairs]),
            "empty": empty[0][None],
            "empty_2": empty[1][None],
            "sizes": size_conditioning([one.size] * size),
        }

    def tokenize(self, text: str) -> tuple[Tensor, Tensor]:
        """Token ids (T,) of a caption for both encoders."""
        if text not in self._ids:
            first, second = (
                tokenizer(
                    text,
                    padding="max_length",
                    max_length=tokenizer.model_max_length,
                    truncation=True,
                    return_tensors="pt",
                )["input_ids"][0].to(torch.int32)
                for tokenizer in (self.pipeline.tokenizer, self.pipeline.tokenizer_2)
            )
            self._ids[text] = first, second
        return self._ids[text]

    def describe(self) -> dict[str, Any]:
        return {"task": "base", "sets": [[len(one), *one.size] for one in self.buckets.sets]}

    def sample(self, path: Path) -> None:
        """Eight captions of known combinations above eight of combinations never seen."""
        height, width = self.buckets.sets[0].size
        prompts = [
            ShapesWorld(2**31, width, height, split).scene(number) for split in _SPLITS for number in range(8)
        ]
        from ..shapes_world import caption

        pictures = generate_base(self.pipeline, [caption(scene) for scene in prompts], height, width)
        save_grid(pictures, 8, path)

    def export(self, folder: Path) -> None:
        """A diffusers folder."""
        self.pipeline.save_pretrained(folder)


_SPLITS = ("train", "held-out")


def generate_base(
    pipeline: StableDiffusionXLPipeline,
    prompts: Sequence[str],
    height: int,
    width: int,
    *,
    steps: int = 25,
    guidance: float = 5.0,
    seed: int = 0,
) -> np.ndarray:
    """Pictures (B, height, width, 3) of bytes, one per prompt, each with a noise of its own."""
    pipeline.set_progress_bar_config(disable=True)
    run: Any = pipeline
    pictures = run(
        prompt=list(prompts),
        height=height,
        width=width,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator("cpu").manual_seed(seed + number) for number in range(len(prompts))],
        output_type="np",
    ).images
    return np.rint(pictures * 255).astype(np.uint8)
