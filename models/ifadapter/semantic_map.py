"""The instance semantic map: what an IFAdapter adds to the cross-attention of one layer.

The result equals that of the published algorithm, which computes ten full-size maps per sample. Here each
instance is computed only on the cells its region touches, because everything the published algorithm
computes elsewhere is zero or a constant:

- an instance's features are zero outside its region, so pooling needs only their sum, their maximum and
  the number of cells of the whole grid;
- its gate logit outside the region is the bias of the last convolution times the area gate;
- a slot without instance has half that bias as its logit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from .regions import Placement

# The published adapter was trained with ten slots, empty ones taking part in the softmax (max_obj).
SLOTS = 10


@dataclass(frozen=True, eq=False)
class Gate:
    """The weights of one layer that are needed at every sampling step; C is the attention width.

    `channel_*` are the shared two-layer perceptron of the channel attention (C -> C/16 -> C), `spatial` the
    7 x 7 convolution (1, 2, 7, 7) over channel maximum and mean, `logit_weight` (C,) and `logit_bias` (1,)
    the 1 x 1 convolution to one channel, `alpha` () the output gate before tanh.
    """

    channel_in: Tensor
    channel_in_bias: Tensor
    channel_out: Tensor
    channel_out_bias: Tensor
    spatial: Tensor
    logit_weight: Tensor
    logit_bias: Tensor
    alpha: Tensor

    def to(self, device: torch.device | str) -> Gate:
        return Gate(*(getattr(self, f.name).to(device) for f in fields(self)))

    def channel_attention(self, largest: Tensor, mean: Tensor) -> Tensor:
        """Pooled features (R, C), twice -> factor of each channel (R, C) (CBAM, channel attention module)."""

        def perceptron(x: Tensor) -> Tensor:
            hidden = F.relu(F.linear(x, self.channel_in, self.channel_in_bias))
            return F.linear(hidden, self.channel_out, self.channel_out_bias)

        return torch.sigmoid(perceptron(largest) + perceptron(mean))

    def spatial_attention(self, largest: Tensor, mean: Tensor) -> Tensor:
        """Channel maximum and mean (R, h, w) -> factor of each cell (R, h, w) (CBAM, spatial attention module)."""
        planes = torch.stack((largest, mean), dim=1)
        return torch.sigmoid(F.conv2d(planes, self.spatial, padding=self.spatial.shape[-1] // 2))[:, 0]


def semantic_map(query: Tensor, keys: Tensor, values: Tensor, gate: Gate, placement: Placement) -> Tensor:
    """The term added to one layer's attention before its output projection, tanh gate included.

    query: (R, L, C) the layer's frozen query projection, R rows that share one placement, L = h * w cells.
    keys, values: (R, P, heads, N, C / heads) of all P instances as `InstanceAttention.keys_values` makes
    them. Returns (R, L, C) in the query's dtype; the arithmetic is float32.

    Source: IFAdapter, equations 4-8, as the released code computes them: the area term multiplies the gate
    logit, and the softmax runs over ten slots.
    """
    height, width = placement.grid
    rows, length, channels = query.shape
    if length != height * width:
        raise ValueError(f"{length} query tokens do not fill a grid of {height} x {width} cells")
    heads = keys.shape[2]
    inverse_norm = _inverse_head_norm(query, heads).view(rows, height, width, heads)
    query = query.view(rows, height, width, channels)

    area_gates = [_sigmoid(ratio) for ratio in placement.ratios]
    slots = [area_gate * gate.logit_bias for area_gate in area_gates]
    empty = max(SLOTS - len(slots), 0)
    # The empty slots are equal, so one slot stands for all of them.
    slots += [0.5 * gate.logit_bias + math.log(empty)] if empty else []
    logits = torch.cat(slots)[None, :, None, None].repeat(rows, 1, height, width)

    features: dict[int, Tensor] = {}
    for slot, (index, mask) in enumerate(zip(placement.indices, placement.masks, strict=True)):
        crop = placement.crop(slot)
        if not query[crop].numel():
            continue  # thinner than a line between two cells: it keeps its slot and adds nothing
        feature = _attend(query[crop], inverse_norm[crop], keys[:, index], values[:, index])
        if mask is not None:
            feature = feature * mask.to(feature)[:, :, None]
        covers_grid = mask is None and feature.shape[1:3] == placement.grid
        logits[:, slot][crop] = area_gates[slot] * _gate_logit(feature, gate, length, covers_grid)
        features[slot] = feature

    weights = logits.softmax(dim=1)
    out = query.new_zeros(query.shape, dtype=torch.float32)
    for slot, feature in features.items():
        crop = placement.crop(slot)
        out[crop] += weights[:, slot][crop][..., None] * placement.strengths[slot] * feature
    return (gate.alpha.tanh() * out).view(rows, length, channels).to(query.dtype)


def _inverse_head_norm(query: Tensor, heads: int) -> Tensor:
    """One over the root mean square of each head of the query: (R, L, C) -> (R, L, heads)."""
    mean_square = query.float().unflatten(-1, (heads, -1)).square().mean(-1)
    return torch.rsqrt(mean_square + 1e-6)


def _attend(query: Tensor, inverse_norm: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of a crop (R, h, w, C) over one instance's tokens (R, heads, N, d) -> (R, h, w, C)."""
    rows, height, width, channels = query.shape
    heads = keys.shape[1]
    q = query.float().reshape(rows, height * width, heads, -1).transpose(1, 2)
    scores = q @ keys.float().transpose(-1, -2)
    scores = scores * inverse_norm.reshape(rows, height * width, heads, 1).transpose(1, 2)
    out = scores.softmax(dim=-1) @ values.float()
    return out.transpose(1, 2).reshape(rows, height, width, channels)


def _gate_logit(feature: Tensor, gate: Gate, grid_cells: int, covers_grid: bool) -> Tensor:
    """CBAM and the 1 x 1 convolution on a crop (R, h, w, C) -> (R, h, w), before the area gate."""
    largest = feature.amax(dim=(1, 2))
    if not covers_grid:
        largest = largest.clamp(min=0)  # the zeros outside the region take part in the maximum
    mean = feature.sum(dim=(1, 2)) / grid_cells
    channel = gate.channel_attention(largest, mean)
    scaled = feature * channel[:, None, None, :]
    spatial = gate.spatial_attention(scaled.amax(-1), scaled.mean(-1))
    return spatial * (scaled @ gate.logit_weight) + gate.logit_bias


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
