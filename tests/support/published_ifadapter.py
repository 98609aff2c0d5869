"""The published instance attention, written down plainly: ten full-size slots, keys and values at every call.

The yardstick for `instance_composer.models.ifadapter`: tests ask for the same numbers, the benchmark for
less time. Follows the paper's equations 4-8 with the area term inside the softmax; grid and masks are
generalised (any height and width, a mask in place of a box).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from instance_composer.models.ifadapter import InstanceAttention
from instance_composer.models.regions import box_cells

SLOTS = 10


def published_term(
    layer: InstanceAttention,
    query: Tensor,
    tokens: Tensor,
    boxes: Tensor,
    counts: list[int],
    grid: tuple[int, int],
    masks: list[Tensor] | None = None,
) -> Tensor:
    """The contract of `InstanceAttention.forward`; `masks` (h, w) per instance replace the boxes' cells."""
    batch, length, channels = query.shape
    heads, slots = layer.heads, max(SLOTS, *counts)

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(-3, -2)

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + weight)

    keys = norm(split(layer.to_k_ap(tokens)), layer.k_norm.weight)
    values = split(layer.to_v_ap(tokens))
    covered = torch.stack(masks) if masks is not None else _rasters(boxes, grid)

    def pad(x: Tensor) -> Tensor:
        return torch.stack([F.pad(y, [0, 0] * (y.ndim - 1) + [0, slots - len(y)]) for y in x.split(counts)])

    keys, values, covered = pad(keys), pad(values), pad(covered.float())
    area = covered.sum((-2, -1))
    union = covered.amax(1).sum((-2, -1))
    ratio = torch.where(torch.arange(slots) < torch.tensor(counts)[:, None], union[:, None] / area, 0.0)

    q = norm(split(query), layer.q_norm.weight)[:, None]
    hidden = (covered == 0).flatten(2)[:, :, None, :, None].float() * torch.finfo(torch.float32).min
    features = F.scaled_dot_product_attention(
        q.expand(-1, slots, -1, -1, -1),
        keys,
        values,
        attn_mask=hidden.expand(-1, -1, heads, -1, keys.shape[-2]),
    )
    features = features.transpose(2, 3).flatten(3) * covered.flatten(2)[..., None]

    images = features.flatten(0, 1).transpose(1, 2).unflatten(-1, grid)
    pooled = (images.amax((-2, -1)), images.mean((-2, -1)))
    images = images * torch.sigmoid(sum(layer.cbam.cam.linear(x) for x in pooled))[..., None, None]
    planes = torch.cat((images.amax(1, keepdim=True), images.mean(1, keepdim=True)), dim=1)
    images = images * torch.sigmoid(layer.cbam.sam.conv(planes))
    logits = layer.conv(images).unflatten(0, (batch, slots)).flatten(2) * torch.sigmoid(ratio)[..., None]
    weights = logits.softmax(1)
    return layer.alpha.tanh() * (weights[..., None] * features).sum(1)


def _rasters(boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    rasters = torch.zeros(len(boxes), *grid)
    for raster, box in zip(rasters, boxes.tolist(), strict=True):
        x0, y0, x1, y1 = box_cells(tuple(box), grid)
        raster[y0:y1, x0:x1] = 1
    return rasters
