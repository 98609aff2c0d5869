"""Pixels of a picture as Grounding DINO reads them, made of a tensor without Pillow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# The published models' preparation of pictures: the shorter side 800, the longer at most 1333, ImageNet's
# mean and deviation.
SHORTER_SIDE, LONGEST_SIDE = 800, 1333
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def prepare(picture: Tensor) -> Tensor:
    """A picture (H, W, 3) as the network reads it: (1, 3, h, w), resized and normalised."""
    height, width = picture.shape[:2]
    scale = min(SHORTER_SIDE / min(height, width), LONGEST_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pixels = picture[..., :3].float().cpu().movedim(-1, 0)[None]
    resized = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (resized - mean) / deviation
