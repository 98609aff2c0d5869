"""Fresh vision transformers whose heads begin by looking at the next patch in one direction each.

Outlines are what neighbouring patches show together. From random weights attention is spread over the whole
picture, and shapes were at chance after 1300 steps; convolutions have neighbours from the start.

Source of the idea: ConViT (arXiv 2103.10697), attention that begins as a convolution.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# Rows and columns to which the heads of a layer look; layers take turns.
_DIRECTIONS = (((1, 0), (-1, 0), (0, 1), (0, -1)), ((1, 1), (-1, -1), (1, -1), (-1, 1)))
# In radians a patch: the lowest tells places apart all over a grid of 8, the highest tells neighbours.
_RATES = (0.4, 0.8, 1.57, 2.2)
# How sharply a head looks, at the length that a layer norm leaves of a place.
_SHARPNESS = 2.0
_NOISE = 0.2


@torch.no_grad()
def look_around(vision: Any, heads: int) -> None:
    """Change places, patches and queries and keys of a BLIP vision tower that has drawn random weights.

    The first channels of a patch hold its place, as sines and cosines of its row and column; a query turns
    them by as much as its head looks away.
    """
    embeddings = vision.embeddings
    table: Tensor = embeddings.position_embedding
    width = table.shape[-1]
    size = width // heads
    rates = torch.tensor(_RATES[: size // 4])
    places = _places(math.isqrt(table.shape[1] - 1), rates)
    channels = places.shape[1]
    table.mul_(_NOISE)
    embeddings.class_embedding[..., :channels] = 0
    embeddings.patch_embedding.weight[:channels] = 0
    table[..., :channels] = 0
    table[0, 1:, :channels] = places
    for number, layer in enumerate(vision.encoder.layers):
        weight: Tensor = layer.self_attn.qkv.weight
        weight[: 2 * width] *= _NOISE
        for head, direction in enumerate(_DIRECTIONS[number % len(_DIRECTIONS)][:heads]):
            queries, keys = (
                weight[start : start + channels, :] for start in (head * size, width + head * size)
            )
            for own, turned in ((queries, _turn(direction, rates)), (keys, torch.eye(channels))):
                own[:, :channels] = _SHARPNESS * turned


def _places(grid: int, rates: Tensor) -> Tensor:
    """Sines and cosines of rows and columns (grid², 4 · rates)."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    angles = torch.stack((rows, columns), dim=-1).flatten(0, 1)[..., None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def _turn(direction: tuple[int, int], rates: Tensor) -> Tensor:
    """What takes the sines and cosines of a place to those of the place that lies in a direction of it."""
    angles = (torch.tensor(direction)[:, None] * rates).flatten()
    cosines, sines = angles.cos(), angles.sin()
    blocks = torch.stack((cosines, sines, -sines, cosines), dim=1).view(-1, 2, 2)
    return torch.block_diag(*blocks)
