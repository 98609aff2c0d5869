"""Attention by a dense matrix of weights, to compare grouped attention with."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_weights(groups, rows: int, keys: int) -> Tensor:
    """(rows, keys): how many times each key counts for each row of `RowGroups`."""
    weights = torch.zeros(rows, keys)
    for group in groups.groups:
        for one in group.sees:
            weights[group.rows[:, None], groups.pieces[one.piece][None]] = one.weight
    return weights


def dense_attention(query: Tensor, key: Tensor, value: Tensor, weights: Tensor) -> Tensor:
    """(B, H, L, d) with key and value (B, h, T, d); zeros where a row sees nothing."""
    key, value = (one.repeat_interleave(query.shape[1] // one.shape[1], 1) for one in (key, value))
    scores = query.double() @ key.double().transpose(2, 3) / query.shape[-1] ** 0.5 + weights.double().log()
    return scores.softmax(-1).nan_to_num(0.0).matmul(value.double()).to(query.dtype)
