"""The position net: a box becomes a vector that is added to its instance's tokens."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

# 100^(k/64) for k in 0..63, without 2 pi: the bands the published weights were trained with.
TEMPERATURE = 100.0


def fourier_features(boxes: Tensor, bands: int) -> Tensor:
    """Sines and cosines of box coordinates: (P, 4) in 0..1 -> (P, bands * 2 * 4), float32.

    The order is band, then sine | cosine, then coordinate, as the first layer of the published
    position net expects.
    """
    exponents = torch.arange(bands, dtype=torch.float32, device=boxes.device) / bands
    angles = (TEMPERATURE**exponents)[:, None] * boxes.float()[:, None, :]
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)


class PositionNet(nn.Module):
    """Boxes (P, 4) as x0, y0, x1, y1 in 0..1 -> (P, width).

    Source: IFAdapter, equation 3 (the term MLP(Fourier(r))); sizes from the released code.
    """

    def __init__(self, features: int, hidden: int, width: int, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.bands = features // 8
        self.linears_position = nn.Sequential(
            operations.Linear(features, hidden),
            nn.SiLU(),
            operations.Linear(hidden, hidden),
            nn.SiLU(),
            operations.Linear(hidden, width),
        )

    def forward(self, boxes: Tensor) -> Tensor:
        # Computed in float32, whatever the boxes are; the layers are of the input's dtype, or follow it.
        return self.linears_position(fourier_features(boxes, self.bands).to(boxes.dtype))
