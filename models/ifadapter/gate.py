"""The gates of one adapted layer: CBAM, the weight of each instance, and the tanh gate of the whole term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gate:
    """The weights of one layer that are needed at every sampling step, as float32; C is the attention width.

    `channel_*` are the shared two-layer perceptron of the channel attention (C -> C/16 -> C), `spatial` the
    7 x 7 convolution (1, 2, 7, 7) over channel maximum and mean, `logit_weight` (C,) and `logit_bias` (1,)
    the 1 x 1 convolution to one channel, `opening` () the output gate tanh(alpha).
    """

    channel_in: Tensor
    channel_in_bias: Tensor
    channel_out: Tensor
    channel_out_bias: Tensor
    spatial: Tensor
    logit_weight: Tensor
    logit_bias: Tensor
    opening: Tensor

    @classmethod
    def of_weights(cls, weights: Mapping[str, Tensor]) -> Gate:
        """The gate of a layer whose weights have their official names."""
        weights = {name: weight.float() for name, weight in weights.items()}
        return cls(
            channel_in=weights["cbam.cam.linear.0.weight"],
            channel_in_bias=weights["cbam.cam.linear.0.bias"],
            channel_out=weights["cbam.cam.linear.2.weight"],
            channel_out_bias=weights["cbam.cam.linear.2.bias"],
            spatial=weights["cbam.sam.conv.weight"],
            logit_weight=weights["conv.weight"].flatten(),
            logit_bias=weights["conv.bias"],
            opening=weights["alpha"].tanh(),
        )

    def to(self, device: torch.device | str) -> Gate:
        """The same gate on another device."""
        return Gate(*(getattr(self, f.name).to(device) for f in fields(self)))

    def frozen(self) -> Gate:
        """Copies without gradients, independent of the layer."""
        return Gate(*(getattr(self, f.name).detach().clone() for f in fields(self)))

    @property
    def trained(self) -> bool:
        """True if gradients of a weight are wanted."""
        return torch.is_grad_enabled() and any(getattr(self, f.name).requires_grad for f in fields(self))

    def channel_attention(self, pooled: Tensor) -> Tensor:
        """Maximum and mean over the grid (2, ..., C) -> factor of each channel (..., C) (CBAM)."""
        hidden = F.relu(F.linear(pooled, self.channel_in, self.channel_in_bias))
        return F.linear(hidden, self.channel_out, self.channel_out_bias).sum(0).sigmoid()

    def spatial_attention(self, planes: Tensor) -> Tensor:
        """Maximum and mean over the channels (R, slots, 2, h, w) -> factor of each cell (CBAM)."""
        factors = F.conv2d(planes.flatten(0, 1), self.spatial, padding=self.spatial.shape[-1] // 2)
        return factors.view_as(planes[:, :, 0]).sigmoid()
