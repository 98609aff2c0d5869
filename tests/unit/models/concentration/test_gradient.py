"""Closed-form gradients against autograd through the losses themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from instance_composer.models.concentration import pixel_loss, token_loss
from instance_composer.models.concentration.gradient import (
    logit_gradient,
    pixel_gradient,
    token_gradient,
)

HEADS, GRID, TEXT = 4, (6, 5), 13
# Three entities, the last two of which share a token; the last but one has no region.
GROUPS = [[2, 3], [5], [5, 9, 7]]
TOKENS = [2, 3, 5, 7, 9]
CASES = {"token": (1.0, 0.0), "pixel": (0.0, 1.0), "both": (0.7, 1.3)}


def masks() -> Tensor:
    made = torch.zeros(3, *GRID)
    made[0, 1:4, :3] = 1
    made[2, 3:, 2:] = 1
    return made


def members() -> Tensor:
    return torch.tensor([[float(token in group) for token in TOKENS] for group in GROUPS])


def logits(dtype: torch.dtype) -> Tensor:
    return 2 * torch.randn(HEADS, *GRID, TEXT, generator=torch.Generator().manual_seed(3), dtype=dtype)


def chosen(maps: Tensor) -> Tensor:
    """(heads, h, w, T) as (1, heads, K, L)."""
    return maps[..., TOKENS].flatten(1, 2).transpose(1, 2)[None]


@pytest.mark.parametrize("weights", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_by_the_logits_of_every_head(weights, dtype) -> None:
    scores = logits(dtype).requires_grad_()
    maps = scores.softmax(-1)
    energy = weights[0] * token_loss([maps], masks(), GROUPS)
    energy = energy + weights[1] * pixel_loss([maps], masks(), GROUPS)
    (expected,) = torch.autograd.grad(energy, scores)
    flat = masks().flatten(1)[None].to(dtype)
    found = logit_gradient(chosen(maps.detach()), flat, members().to(dtype), *weights)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / scale, chosen(expected) / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("loss", [token_loss, pixel_loss])
def test_the_gradient_by_the_mean_over_heads(loss) -> None:
    maps = logits(torch.float64).softmax(-1).mean(0, keepdim=True).requires_grad_()
    (expected,) = torch.autograd.grad(loss([maps], masks()[:2], GROUPS[:2]), maps)
    gradient = token_gradient if loss is token_loss else pixel_gradient
    found = gradient(
        chosen(maps.detach())[:, 0], masks()[:2].flatten(1)[None].double(), members()[:2].double()
    )
    torch.testing.assert_close(found, chosen(expected)[:, 0])
