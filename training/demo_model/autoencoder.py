"""Training of the demo world's autoencoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Generator, Tensor, nn

from ...shapes_world import Sample, ShapesWorld
from ..data.pictures import (
    decode,
    posterior,
    save_grid,
    to_bytes,
    to_tensor,
)
from ..engine.task import BatchPosition, Task
from .architecture import LATENT_SCALE, make_autoencoder

# Weight of the Kullback-Leibler term per latent element: enough to keep neighbouring latents alike, so that
# a diffusion model may miss a little, too little to blur patterns.
_DIVERGENCE = 2e-4
# Weight of differences between neighbouring pixels beside the pixels themselves: keeps edges sharp.
_EDGES = 0.5
_HELD_OUT, _HELD_OUT_SEED = 32, 2**31 + 2


class AutoencoderObjective(nn.Module):
    """Reconstruction of pictures (B, 3, H, W) in -1 to 1 through a noisy latent."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pictures: Tensor, generator: Generator) -> dict[str, Tensor]:
        latents = posterior(self.autoencoder, pictures)
        decoded = decode(self.autoencoder, latents.sample(generator))
        pixels = F.l1_loss(decoded, pictures)
        # Squares find the colours soon, absolute differences sharpen what is nearly right.
        squares = F.mse_loss(decoded, pictures)
        edges = sum(F.l1_loss(decoded.diff(dim=axis), pictures.diff(dim=axis)) for axis in (-1, -2))
        divergence = latents.kl().mean() / latents.mean[0].numel()
        loss = squares + pixels + _EDGES * edges + _DIVERGENCE * divergence
        return {"loss": loss, "pixels": pixels, "divergence": divergence}


class AutoencoderTask(Task[AutoencoderObjective]):
    """Crops of fresh pictures of the world's every combination; the autoencoder is no part of the split.

    Pictures are `side` pixels wide and high, of which a step sees a random square of `crop` pixels. With
    `decoder_only` the encoder stays as it is, and latents made with it stay true.
    """

    def __init__(
        self,
        side: int = 128,
        crop: int = 64,
        autoencoder: AutoencoderKL | None = None,
        decoder_only: bool = False,
    ) -> None:
        self.side, self.crop, self.decoder_only = side, crop, decoder_only
        self.objective = AutoencoderObjective(autoencoder or make_autoencoder())
        self.objective.requires_grad_(True)
        if decoder_only:
            for part in (self.objective.autoencoder.encoder, self.objective.autoencoder.quant_conv):
                part.requires_grad_(False)  # type: ignore[union-attr]

    def batch(self, position: BatchPosition, size: int, seed: int) -> Tensor:
        """Pictures (size, 3, crop, crop) in -1 to 1."""
        world = ShapesWorld(seed, self.side, self.side, "all", overlap=0.3, overlapping=0.3)
        random = np.random.default_rng([seed, 1, position.number])
        numbers = range(position.number * size, (position.number + 1) * size)
        return to_tensor(np.stack([self._cropped(world[number], random) for number in numbers]))

    def _cropped(self, sample: Sample, random: np.random.Generator) -> np.ndarray:
        """A crop with a figure in it: group norms blow up the nothing in a flat one."""
        center = np.array(sample.scene.figures[int(random.integers(len(sample.scene.figures)))].center)
        corner = np.rint(center - self.crop * random.uniform(0.2, 0.8, 2)).astype(int)
        x, y = np.clip(corner, 0, self.side - self.crop)
        return sample.image[y : y + self.crop, x : x + self.crop]

    @property
    def held_out_count(self) -> int:
        return _HELD_OUT

    def validation_batches(self, size: int) -> Sequence[Tensor]:
        """Crops of pictures that no step sees."""
        crops = self.batch(BatchPosition(0, 0, 0, 1, 1), _HELD_OUT, _HELD_OUT_SEED)
        return list(crops.split(size))

    def account(self) -> Iterable[str]:
        yield f"pictures: crops of {self.crop} × {self.crop} from Shapes World, made as they are needed"

    def describe(self) -> dict[str, Any]:
        return {
            "task": "autoencoder",
            "side": self.side,
            "crop": self.crop,
            "decoder_only": self.decoder_only,
        }

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Eight pictures never trained on, above what is left of them."""
        world = ShapesWorld(seed=2**31, width=128, height=128, split="all")
        pictures = to_tensor(np.stack([world[number].image for number in range(8)]))
        device = next(self.objective.parameters()).device
        autoencoder = self.objective.autoencoder
        decoded = decode(autoencoder, posterior(autoencoder, pictures.to(device)).mode())
        save_grid(to_bytes(torch.cat((pictures, decoded.cpu()))), 8, path)

    def export(self, folder: Path) -> None:
        """A diffusers folder `vae` whose latents have the mean and spread that SDXL's factor stands for."""
        training = self.objective.autoencoder
        exported = deepcopy(training)
        if not self.decoder_only:
            normalize_latents(exported, self._calibration().to(training.device))
        exported.save_pretrained(folder / "vae")

    def _calibration(self) -> Tensor:
        world = ShapesWorld(seed=2**31 + 1, width=self.side, height=self.side)
        return to_tensor(np.stack([world[number].image for number in range(64)]))


@torch.no_grad()
def normalize_latents(autoencoder: AutoencoderKL, pictures: Tensor) -> None:
    """Shift and scale every latent channel to mean 0 and deviation 1 / LATENT_SCALE over these pictures.

    The change is folded into the convolutions on both sides of the latent, so decoded pictures stay as they
    were. ComfyUI multiplies SDXL's latents by a built-in factor, so they must have the spread it expects.
    """
    means = torch.cat([posterior(autoencoder, part).mode() for part in pictures.split(8)])
    center = means.mean(dim=(0, 2, 3))
    factor = 1 / (LATENT_SCALE * means.std(dim=(0, 2, 3)))
    before: Any = autoencoder.quant_conv
    after: Any = autoencoder.post_quant_conv
    channels = len(center)
    # The first half of the channels are means, the second logarithms of variances.
    before.weight[:channels] *= factor[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - center) * factor
    before.bias[channels:] += 2 * factor.log()
    after.bias += (after.weight[:, :, 0, 0] * center).sum(dim=1)
    after.weight /= factor[None, :, None, None]
