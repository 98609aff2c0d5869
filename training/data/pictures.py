"""Pictures as tensors and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor


def to_tensor(pictures: np.ndarray) -> Tensor:
    """Pictures (B, H, W, 3) of bytes -> (B, 3, H, W) in -1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(pictures: Tensor) -> np.ndarray:
    """Pictures (B, 3, H, W) in -1 to 1 -> (B, H, W, 3) of bytes."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def save_grid(pictures: np.ndarray, columns: int, path: Path) -> None:
    """Write pictures (B, H, W, 3) of bytes as one, row by row."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    grid = np.full((rows * height, columns * width, 3), 255, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        y, x = (part * side for part, side in zip(divmod(index, columns), (height, width), strict=True))
        grid[y : y + height, x : x + width] = picture
    Image.fromarray(grid).save(path)


def posterior(autoencoder: AutoencoderKL, pictures: Tensor) -> Any:
    """diffusers' distribution over latents of pictures (B, 3, H, W) in -1 to 1."""
    encode: Any = autoencoder.encode
    return encode(pictures).latent_dist


def decode(autoencoder: AutoencoderKL, latents: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) of the autoencoder's own, unscaled latents (B, 4, h, w)."""
    decode: Any = autoencoder.decode
    return decode(latents).sample
