"""Fresh text towers of the shape of BERT whose attention begins as likeness.

Words look at words near them, and at patches of a picture that resemble them once both have directions in
common. Learnt from random weights that takes longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def begin_as_likeness(places: Tensor, layers: Iterable[Any]) -> None:
    """Change embeddings of places (N, width) and the attention of layers that have drawn random weights.

    A layer has `attention` and `crossattention`, each with `self` (query, key, value) and `output.dense`.
    """
    _number_places(places)
    for layer in layers:
        for attention, scale in ((layer.attention, 0.8), (layer.crossattention, 1.4)):
            own = attention.self
            for linear in (own.query, own.key):
                almost_identity(linear.weight, scale)
            for linear in (own.value, attention.output.dense):
                almost_identity(linear.weight, 0.7)


@torch.no_grad()
def almost_identity(weight: Tensor, scale: float) -> None:
    """Make a square matrix pass things on, with a fifth of what it was as noise."""
    weight.mul_(0.2).add_(torch.eye(len(weight)), alpha=scale)


@torch.no_grad()
def _number_places(table: Tensor) -> None:
    """Sines and cosines, so that neighbours are alike; half as long as a word."""
    count, width = table.shape
    rates = 0.6 * 20.0 ** -(torch.arange(width // 2) / (width // 2))
    angles = torch.arange(count)[:, None] * rates
    table.copy_(torch.cat((angles.sin(), angles.cos()), dim=1) * 0.7)
