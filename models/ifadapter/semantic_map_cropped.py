"""The semantic map of one instance after the other, each on the rectangle of its cells: for CPUs.

The larger part of a picture is usually nobody's, and memory is what a CPU waits for. About 35 operations for
each instance and layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..regions import Placement
from .cell_lists import SLOTS
from .gate import Gate
from .occlusion import occluded
from .resampler import RMS_EPSILON


def cropped_semantic_map(
    query: Tensor, keys: Tensor, values: Tensor, gate: Gate, placement: Placement, occlusion: float = 0.0
) -> Tensor:
    """The contract of `semantic_map`."""
    if placement.rows == 1:
        return _one_row(query, keys, values, gate, placement, occlusion)
    out = torch.zeros_like(query)
    for row in sorted(set(placement.row_of)):
        own = slice(row, None, placement.rows)
        out[own] = _one_row(query[own], keys, values, gate, placement.row(row), occlusion)
    return out


def _one_row(
    query: Tensor, keys: Tensor, values: Tensor, gate: Gate, placement: Placement, occlusion: float
) -> Tensor:
    """The map of rows that share a placement of one row."""
    height, width = placement.grid
    rows, length, channels = query.shape
    image = query.view(rows, height, width, keys.shape[2], -1)
    each = rows // len(keys)
    slots = [slot for slot in range(len(placement.indices)) if placement.has_cells(slot)]
    planes = gate.logit_bias.new_zeros(rows, len(placement.indices), 3, height, width)
    attentions: dict[int, Tensor] = {}
    for slot in slots:
        (y, x), index, mask = placement.crop(slot), placement.indices[slot], placement.masks[slot]
        attentions[slot] = _attention(image[:, y, x], _rows(keys, index, each))
        feature = _rows(values, index, each).transpose(2, 3) @ attentions[slot]
        feature = feature.view(rows, channels, y.stop - y.start, x.stop - x.start)
        if mask is not None:
            feature = feature * mask
        planes[:, slot, :, y, x] = _gate_planes(feature, gate, length, placement.covers_grid(slot))

    weights = _slot_weights(planes, gate, placement)
    if occlusion:
        weights = occluded(weights, placement, occlusion)
    out = torch.zeros(image.shape, dtype=torch.float32, device=image.device)
    for slot in slots:
        (y, x), index, mask = placement.crop(slot), placement.indices[slot], placement.masks[slot]
        weight = weights[:, slot, y, x] * placement.strengths[slot]
        if mask is not None:
            weight = weight * mask
        # Once more from the attention: kept features would be five times its size.
        weighted = attentions[slot] * weight.flatten(1)[:, None, None]
        crop = out[:, y, x]
        crop += (weighted.transpose(2, 3) @ _rows(values, index, each)).transpose(1, 2).view(crop.shape)
    return out.view(rows, length, channels).to(query.dtype)


def _rows(stacked: Tensor, index: int, each: int) -> Tensor:
    """One instance's keys or values of G prompts, `each` times: (G, P, heads, N, d) -> (R, heads, N, d)."""
    return stacked[:, index].float().repeat_interleave(each, dim=0)


def _attention(query: Tensor, keys: Tensor) -> Tensor:
    """Attention of a crop (R, h, w, heads, d) to tokens (R, heads, N, d): (R, heads, N, h * w)."""
    q = query.float().permute(0, 3, 1, 2, 4).flatten(2, 3)
    # The query's normalisation is one factor per cell and head, so it goes onto the few scores.
    mean_square = torch.linalg.vector_norm(q, dim=-1).square() / q.shape[-1]
    # Tokens before cells: a softmax over the short axis is several times slower as the last one.
    scores = (keys @ q.transpose(2, 3)) * torch.rsqrt(mean_square + RMS_EPSILON)[:, :, None]
    return scores.softmax(dim=2)


def _gate_planes(feature: Tensor, gate: Gate, grid_cells: int, covers_grid: bool) -> Tensor:
    """Channel attention on a crop (R, C, h, w), then what the rest of the gate needs of it: (R, 3, h, w).

    The planes are the maximum and the mean over the channels and the 1 x 1 convolution without bias.
    """
    largest = feature.amax(dim=(2, 3))
    if not covers_grid:
        largest = largest.clamp(min=0)  # the zeros outside the region take part in the maximum
    factor = gate.channel_attention(torch.stack((largest, feature.sum(dim=(2, 3)) / grid_cells)))
    peak = (feature * factor[:, :, None, None]).amax(dim=1, keepdim=True)
    vectors = torch.stack((factor / factor.shape[1], factor * gate.logit_weight), dim=1)
    products = vectors @ feature.flatten(2)
    return torch.cat((peak, products.unflatten(-1, feature.shape[2:])), dim=1)


def _slot_weights(planes: Tensor, gate: Gate, placement: Placement) -> Tensor:
    """Softmax over all slots, times the output gate: planes (R, slots, 3, h, w) -> (R, slots, h, w)."""
    spatial = gate.spatial_attention(planes[:, :, :2])
    area_gates = placement.ratios.sigmoid()[:, None, None]
    logits = area_gates * (spatial * planes[:, :, 2] + gate.logit_bias)
    rows, slots = logits.shape[:2]
    if slots < SLOTS:
        # Empty slots are equal, so one stands for all of them.
        rest = 0.5 * gate.logit_bias + math.log(SLOTS - slots)
        logits = torch.cat((logits, rest.expand(rows, 1, *placement.grid)), dim=1)
    return logits.softmax(dim=1) * gate.opening
