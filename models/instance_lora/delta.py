"""Low-rank changes of layers, for some rows of a sequence or some cells of a map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LowRankDelta:
    """What a LoRA adds to one layer's weight: `scale` times `up` (out, rank) times `down`.

    `down` is (rank, in) for a linear layer and (rank, in, height, width) for a convolution, whose `up` acts
    on each cell alone.
    """

    down: Tensor
    up: Tensor
    scale: float

    @classmethod
    def of(cls, up: Tensor, down: Tensor, scale: float, weight: torch.Size) -> LowRankDelta:
        """From a file's matrices, in whatever shape, for a layer whose weight has this one.

        ValueError if they do not fit it.
        """
        rank = down.shape[0]
        fits = up.numel() == weight[0] * rank and down.numel() == rank * weight[1:].numel()
        if not fits:
            raise ValueError(
                f"matrices of {tuple(up.shape)} and {tuple(down.shape)} do not fit a layer of {tuple(weight)}"
            )
        return cls(down.reshape(rank, *weight[1:]), up.reshape(weight[0], rank), scale)

    def to(self, like: Tensor) -> LowRankDelta:
        """On the device and in the precision of a tensor."""
        return replace(self, down=self.down.to(like), up=self.up.to(like))

    def of_rows(self, inputs: Tensor) -> Tensor:
        """What it adds to a linear layer's output (…, out) for inputs (…, in)."""
        return F.linear(F.linear(inputs, self.down), self.up) * self.scale

    def of_map(self, inputs: Tensor, layer: Any) -> Tensor:
        """What it adds to a convolution's output (B, out, h, w); `layer` has stride, padding and dilation."""
        low = F.conv2d(inputs, self.down, None, layer.stride, layer.padding, layer.dilation)
        return F.conv2d(low, self.up[:, :, None, None]) * self.scale


def add_to_rows(outputs: Tensor, inputs: Tensor, rows: Tensor, delta: LowRankDelta) -> Tensor:
    """A linear layer's outputs (B, L, out) for inputs (B, L, in), changed in these rows alone."""
    return outputs.index_add(1, rows, delta.of_rows(inputs.index_select(1, rows)).to(outputs))


def add_to_cells(outputs: Tensor, inputs: Tensor, cells: Tensor, delta: LowRankDelta, layer: Any) -> Tensor:
    """A convolution's outputs (B, out, h, w), changed in these cells (h, w; bool) alone."""
    return torch.where(cells, outputs + delta.of_map(inputs, layer).to(outputs), outputs)
