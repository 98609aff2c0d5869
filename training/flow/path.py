"""The objective of rectified flow, as pure functions: straight ways from pictures to noise."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def draw_times(count: int, generator: Generator) -> Tensor:
    """Times (B,) in ]0, 1[, logit-normal, of which a batch has one in each of `count` equal shares.

    Of middle times least is known: what a picture shows is decided there. Shares make the mean of a batch
    steadier than times drawn alone. Source: Esser et al. 2024 (arXiv 2403.03206), section 3.1.
    """
    device = generator.device
    shares = torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)
    # Not quite 0 and 1, whose logits are infinite.
    uniform = (shares / count).clamp(1e-4, 1 - 1e-4)
    return torch.sigmoid(torch.special.ndtri(uniform))


def on_the_way(latents: Tensor, times: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Latents (B, C, h, w) at times (B,), 1 being noise, and the velocity noise − latents to be predicted."""
    noise = torch.randn(latents.shape, generator=generator, device=latents.device, dtype=latents.dtype)
    share = times[:, None, None, None]
    return (1 - share) * latents + share * noise, noise - latents
