"""Pictures as captioners' own processors prepare them, differentiably: resize, crop, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..interfaces import ModelError

# Pillow's numbers for its filters, as processors' files have them, by the name of torch's.
_FILTERS = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Preparation:
    """What a processor does to a picture: a size (height, width) or a shorter side, a crop from the middle,
    mean and deviation of each colour. None for what it leaves out.
    """

    size: tuple[int, int] | None
    shorter_side: int | None
    crop: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: str = "bicubic"

    @classmethod
    def of(cls, processor: Any, option: str) -> Preparation:
        """As transformers' image processor says; `ModelError` for one that does something else."""
        mode = _FILTERS.get(int(processor.resample))
        if mode is None:
            raise ModelError(
                f"{option}: its image processor resizes with filter {processor.resample}; bilinear (2) and "
                "bicubic (3) can be followed by a gradient"
            )
        size: Any = processor.size
        shorter = _entry(size, "shortest_edge")
        height, width = _entry(size, "height"), _entry(size, "width")
        if shorter is None and (height is None or width is None):
            raise ModelError(
                f"{option}: its image processor resizes to {size}; a height and width, or a shortest edge, "
                "is needed"
            )
        crop = None
        if getattr(processor, "do_center_crop", False):
            cut: Any = processor.crop_size
            crop = (int(_entry(cut, "height") or 0), int(_entry(cut, "width") or 0))
        return cls(
            None if shorter is not None else (int(height or 0), int(width or 0)),
            None if shorter is None else int(shorter),
            crop,
            tuple(processor.image_mean),
            tuple(processor.image_std),
            mode,
        )

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in 0 to 1, which are not clamped, as the model reads them."""
        size = self.size or _shorter_at(int(self.shorter_side or 0), *pictures.shape[-2:])
        values = resize(pictures, size, self.mode)
        if self.crop:
            values = _middle(values, *self.crop)
        return normalise(values, self.mean, self.std)


def resize(pictures: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Pictures at a size (height, width), antialiased as Pillow does it."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    return F.interpolate(pictures, size, mode=mode, antialias=True, align_corners=False)


def normalise(values: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Values with each colour's mean taken away and divided by its deviation."""
    middle, spread = (torch.tensor(one, dtype=values.dtype, device=values.device) for one in (mean, std))
    return (values - middle[:, None, None]) / spread[:, None, None]


def _entry(size: Any, name: str) -> int | None:
    return size.get(name) if hasattr(size, "get") else getattr(size, name, None)


def _shorter_at(side: int, height: int, width: int) -> tuple[int, int]:
    """Height and width with the shorter one at `side`, the longer one rounded down."""
    if height <= width:
        return side, int(side * width / height)
    return int(side * height / width), side


def _middle(values: Tensor, height: int, width: int) -> Tensor:
    top, left = (values.shape[-2] - height) // 2, (values.shape[-1] - width) // 2
    return values[..., top : top + height, left : left + width]
