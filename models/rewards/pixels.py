"""Pictures as a reward model sees them: a square from the middle, in CLIP's colour statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# CLIP's mean and deviation of red, green and blue.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
# Pillow's number for its bicubic filter; this package does without Pillow.
_BICUBIC = 3


def resized(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height with the shorter one at `side`, the longer one rounded down."""
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def crop_box(width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the square of `side` in the middle."""
    left, top = round((width - side) / 2), round((height - side) / 2)
    return left, top, left + side, top + side


def prepare_pictures(pictures: Sequence[Any], side: int) -> Tensor:
    """Pillow pictures of any size -> (B, 3, side, side) as the model reads them.

    As in the published training: the shorter side is resized with Pillow's bicubic filter, then the middle is
    cut out.
    """
    return torch.stack([_normalized(_square(picture, side)) for picture in pictures])


def _square(picture: Any, side: int) -> Tensor:
    """A Pillow picture's middle (3, side, side) in 0..1."""
    picture = picture.convert("RGB")
    width, height = picture.size
    new_width, new_height = resized(width, height, side)
    if (new_width, new_height) != (width, height):
        picture = picture.resize((new_width, new_height), _BICUBIC)
    pixels = bytearray(picture.crop(crop_box(new_width, new_height, side)).tobytes())
    return torch.frombuffer(pixels, dtype=torch.uint8).view(side, side, 3).permute(2, 0, 1).float() / 255


def _normalized(values: Tensor) -> Tensor:
    return (values - _column(MEAN, values)) / _column(STD, values)


def prepare_decoded(decoded: Tensor, side: int) -> Tensor:
    """A decoder's pictures (B, 3, H, W) in about -1..1 -> (B, 3, side, side) as the model reads them.

    Differentiable. Resizing tensors and resizing with Pillow, as for pictures from files, differ by up to
    0.015 of the value range.
    """
    height, width = decoded.shape[-2:]
    values = (decoded / 2 + 0.5).clamp(0, 1)
    new_width, new_height = resized(width, height, side)
    values = F.interpolate(values, (new_height, new_width), mode="bicubic", antialias=True)
    left, top, right, bottom = crop_box(new_width, new_height, side)
    values = values[..., top:bottom, left:right]
    return _normalized(values)


def _column(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
