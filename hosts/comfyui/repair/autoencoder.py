"""Pictures through a VAE and back: each by itself, also where the VAE was made for videos."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# Pixels of a side that one cell of a latent stands for in most models.
LATENT_CELL = 8


def unit_of(vae: Any) -> int:
    """Pixels of which a picture's sides must be multiples, or the VAE cuts its edges off."""
    return math.lcm(LATENT_CELL, int(vae.spacial_compression_encode()))


def encode_each(vae: Any, pictures: Tensor) -> Tensor:
    """Latents of pictures (B, H, W, 3); those of a VAE for videos have one frame each."""
    if vae.latent_dim < 3:
        return vae.encode(pictures)
    # It would take a batch for the frames of one video.
    return torch.cat([vae.encode(picture) for picture in pictures.split(1)])


def decode_each(vae: Any, latents: Tensor) -> Tensor:
    """Pictures (B, H, W, 3) of latents."""
    pictures = vae.decode(latents)
    # (B, frames, H, W, C) of a VAE for videos: a latent of one frame is one picture.
    pictures = pictures[:, 0] if pictures.ndim == 5 else pictures
    return pictures[..., :3]
