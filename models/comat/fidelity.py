"""Fidelity preservation: a discriminator of clean latents, of the model in training and of the original one.

Source: CoMat (arXiv 2404.03653), fidelity preservation; losses as in its released code, non-saturating.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LatentHead(nn.Module):
    """A linear map of each position of a latent (B, C, h, w) to a logit (B, h, w, 1): real or made."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # A sequence, so that its weights have the published names.
        self.mlp = nn.Sequential(nn.Linear(channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.mlp(features.permute(0, 2, 3, 1))


def fooling_loss(made: Tensor) -> Tensor:
    """What the generator lowers: -log D of its latents, the mean over all logits."""
    return F.softplus(-made.float()).mean()


def telling_loss(made: Tensor, real: Tensor) -> Tensor:
    """What the discriminator lowers: -log (1 - D(made)) and -log D(real), one mean over both."""
    return torch.cat((F.softplus(made.float()), F.softplus(-real.float()))).mean()
