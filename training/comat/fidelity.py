"""The discriminator: the original UNet with a LoRA of its own, which tells latents of two models apart."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...models.comat import LatentHead
from .prompts import Conditions


class Discriminator(nn.Module):
    """Clean latents (B, C, h, w) to a logit for each cell (B, h, w, 1), high for the original model.

    `unet` has its own LoRA; `timestep` is the sampler's last. The condition is the empty prompt.
    """

    def __init__(self, unet: Any, timestep: int) -> None:
        super().__init__()
        self.unet, self.timestep = unet, timestep
        self.head = LatentHead(unet.config["out_channels"])

    def forward(self, latents: Tensor, empty: Conditions) -> Tensor:
        """`empty` are the conditions of one picture."""
        conditions = empty.repeated(len(latents))
        options = {} if conditions.added is None else {"added_cond_kwargs": conditions.added}
        return self.head(self.unet(latents, self.timestep, conditions.prompt, **options).sample.float())
