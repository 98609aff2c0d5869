"""The semantic map of all instances at once, their cells gathered into lists: for GPUs and for training.

About 45 operations a layer whatever the number of instances and the shape of their regions, and about 35
more for each further group of sizes. Nothing is read back from the device: shapes come from the placement.
Nor does a sum depend on the order in which a device finishes: no two terms are added to one cell at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..regions import Placement
from .cell_lists import CellGroup, CellLists, cell_lists
from .gate import Gate
from .occlusion import occluded
from .resampler import RMS_EPSILON


def gathered_semantic_map(
    query: Tensor, keys: Tensor, values: Tensor, gate: Gate, placement: Placement, occlusion: float = 0.0
) -> Tensor:
    """The contract of `semantic_map`."""
    lists = cell_lists(placement)
    # Rows that repeat the placement, each all of its rows end to end: (copies, rows * L, C).
    sheets = query.reshape(len(query) // placement.rows, -1, query.shape[-1])
    attended = [_attend(sheets, keys, values, group) for group in lists.groups]
    cells = query.shape[1]
    planes = [
        _gate_planes(one, group, gate, cells) for one, group in zip(attended, lists.groups, strict=True)
    ]
    weights = _slot_weights(_joined(planes), gate, lists, placement, occlusion)
    terms = [_weighted(one, group, weights) for one, group in zip(attended, lists.groups, strict=True)]
    return _summed(_joined(terms), lists).view_as(query).to(query.dtype)


class _Attended(NamedTuple):
    """A group's attention (copies, P, heads, N, M), 0 in padding, and the values it attends to."""

    attention: Tensor
    values: Tensor


def _attend(sheets: Tensor, keys: Tensor, values: Tensor, group: CellGroup) -> _Attended:
    keys, values = (_of_group(x, group, len(sheets)) for x in (keys, values))
    query = sheets.index_select(1, group.cells).float()
    query = query.view(len(sheets), group.count, group.length, keys.shape[2], -1)
    # The query's normalisation is one factor per cell and head, so it goes onto the few scores.
    mean_square = torch.linalg.vector_norm(query, dim=-1).square() / query.shape[-1]
    factor = torch.rsqrt(mean_square + RMS_EPSILON).transpose(2, 3)[:, :, :, None]
    scores = (keys @ query.permute(0, 1, 3, 4, 2)) * factor
    return _Attended(scores.softmax(dim=3) * group.inside, values)


def _of_group(stacked: Tensor, group: CellGroup, copies: int) -> Tensor:
    """The keys or values of a group's instances: (G, P, heads, N, d) -> (copies, count, heads, N, d)."""
    if group.instances is None:
        stacked = stacked[:, : group.count].float()
    else:
        stacked = stacked.index_select(1, group.instances).float()
    return stacked if len(stacked) == copies else stacked.repeat_interleave(copies // len(stacked), dim=0)


def _gate_planes(attended: _Attended, group: CellGroup, gate: Gate, cells: int) -> Tensor:
    """Planes of each cell for the gate: (copies, P * 3 * M), those of a list after each other.

    The planes are the maximum and the mean over the channels, after channel attention, and the 1 x 1
    convolution without bias.
    """
    feature = (attended.values.transpose(3, 4) @ attended.attention).flatten(2, 3)
    largest = feature[..., : group.pooled].amax(dim=3)
    factor = gate.channel_attention(torch.stack((largest, feature.sum(dim=3) / cells)))
    peak = (feature * factor[..., None]).amax(dim=2, keepdim=True)
    vectors = torch.stack((factor / factor.shape[2], factor * gate.logit_weight), dim=2)
    return torch.cat((peak, vectors @ feature), dim=2).flatten(1)


def _slot_weights(
    planes: Tensor, gate: Gate, lists: CellLists, placement: Placement, occlusion: float
) -> Tensor:
    """Softmax over the slots of each row, times the output gate: (copies, rows * slots * L)."""
    grid = placement.grid
    images = planes.index_select(1, lists.planes_at).view(-1, lists.slots, 3, *grid)
    spatial = gate.spatial_attention(images[:, :, :2])
    own = torch.addcmul(gate.logit_bias, spatial, images[:, :, 2])
    own = own.view(len(planes), -1, lists.slots, *grid)
    logits = torch.addcmul(lists.multiplicities, lists.area_gates, own)
    weights = logits.softmax(dim=2) * gate.opening
    return (occluded(weights, placement, occlusion) if occlusion else weights).flatten(1)


def _weighted(attended: _Attended, group: CellGroup, weights: Tensor) -> Tensor:
    """A group's features, each cell with its weight: (copies, P * M, C)."""
    weight = weights.index_select(1, group.weights_at).view(-1, group.count, group.length) * group.strengths
    # Once more from the attention: kept features would be five times its size.
    weighted = attended.attention * weight[:, :, None, None]
    return (weighted.transpose(3, 4) @ attended.values).transpose(2, 3).flatten(3).flatten(1, 2)


def _summed(terms: Tensor, lists: CellLists) -> Tensor:
    """The terms of all instances at each cell: (copies, T, C) -> (copies, rows * L, C)."""
    out = terms.index_select(1, lists.terms_at)
    for overlap in lists.overlaps:
        further = terms.index_select(1, overlap.entries)
        if overlap.count > 1:
            further = further.unflatten(1, (-1, overlap.count)).sum(2)
        out.index_add_(1, overlap.cells, further)
    return out


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
