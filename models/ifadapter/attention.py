"""The trained part of one adapted cross-attention layer."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..regions import Placement
from .gate import Gate
from .resampler import HeadNorm, rms_norm
from .semantic_map import semantic_map


class _ChannelAttention(nn.Module):
    def __init__(self, width: int, hidden: int, operations: ModuleType | Any) -> None:
        super().__init__()
        self.linear = nn.Sequential(
            operations.Linear(width, hidden), nn.ReLU(), operations.Linear(hidden, width)
        )


class _SpatialAttention(nn.Module):
    def __init__(self, kernel: int, operations: ModuleType | Any) -> None:
        super().__init__()
        self.conv = operations.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)


class _BlockAttention(nn.Module):
    """The two halves of CBAM (Woo et al. 2018)."""

    def __init__(self, width: int, hidden: int, kernel: int, operations: ModuleType | Any) -> None:
        super().__init__()
        self.cam = _ChannelAttention(width, hidden, operations)
        self.sam = _SpatialAttention(kernel, operations)


class InstanceAttention(nn.Module):
    """Keys, values and gate of one adapted layer of width `width`; attribute names are the official keys."""

    def __init__(
        self,
        *,
        width: int,
        text_width: int,
        head_dim: int,
        gate_hidden: int,
        gate_kernel: int,
        operations: ModuleType | Any = nn,
    ) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.alpha = nn.Parameter(torch.zeros(()))
        self.to_k_ap = operations.Linear(text_width, width, bias=False)
        self.to_v_ap = operations.Linear(text_width, width, bias=False)
        self.q_norm = HeadNorm(head_dim)
        self.k_norm = HeadNorm(head_dim)
        self.cbam = _BlockAttention(width, gate_hidden, gate_kernel, operations)
        self.conv = operations.Conv2d(width, 1, 1)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Instance tokens (P, N, D) -> keys and values, each (P, heads, N, head_dim).

        Keys are normalised and carry everything that would otherwise be applied to the query at each step:
        the weight of its normalisation and the softmax scale.
        """
        keys, values = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.to_k_ap(tokens), self.to_v_ap(tokens))
        )
        query_weight = (1.0 + self.q_norm.weight.float().to(keys.device)) * keys.shape[-1] ** -0.5
        return (rms_norm(keys, self.k_norm.weight) * query_weight).to(values.dtype), values

    def gate(self) -> Gate:
        """The weights needed at every step, as float32."""
        return Gate.of_weights(dict(self.named_parameters()))

    def forward(
        self, query: Tensor, tokens: Tensor, boxes: Tensor, counts: Sequence[int], grid: tuple[int, int]
    ) -> Tensor:
        """The term added before the output projection for a batch of B samples, tanh gate included.

        query (B, L, C) is the frozen query projection on a grid of (height, width) cells, L of them; tokens
        (P, N, D) and boxes (P, 4) belong to the instances of all samples end to end, `counts` of them in
        each. Returns (B, L, C).
        """
        return self.placed(query, tokens, Placement.of_boxes(boxes, list(counts), grid, query.device))

    def placed(self, query: Tensor, tokens: Tensor, placement: Placement) -> Tensor:
        """The same with the placement made before, once for all layers of one grid."""
        if placement.rows != len(query) or len(placement.indices) != len(tokens):
            raise ValueError(
                f"counts {placement.counts} must give the number of instances of each of the {len(query)} "
                f"rows and add up to the {len(tokens)} instances there are tokens for"
            )
        keys, values = self.keys_values(tokens)
        return semantic_map(query, keys[None], values[None], self.gate(), placement)
