"""The natural direction, computed in few launches, against autograd and against its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from instance_composer.models.concentration import pixel_loss, token_loss
from instance_composer.models.concentration.direction import Direction
from instance_composer.models.concentration.targets import NOWHERE, Targets, own_masks
from instance_composer.models.regions import Regions

HEADS, GRID, TEXT = 4, (6, 5), 13
# Three entities, two of which share a token.
GROUPS, NOUNS = ((2, 3), (5,), (5, 9, 7)), ((3,), (5,), (7, 9))
REGIONS = replace(
    Regions.of_boxes([(0.0, 0.1, 0.6, 0.7), NOWHERE, (0.4, 0.5, 1.0, 1.0)]), strengths=(1.0, 0.7, 0.3)
)
CPU = torch.device("cpu")


def probabilities(batch: int = 2, seed: int = 3) -> Tensor:
    """(B, heads, L, T) in float64."""
    generator = torch.Generator().manual_seed(seed)
    cells = GRID[0] * GRID[1]
    return (2 * torch.randn(batch, HEADS, cells, TEXT, generator=generator, dtype=torch.float64)).softmax(-1)


def stepped(maps: Tensor, targets: Targets, weights: tuple[float, float], strength: float = 1.0) -> Tensor:
    rows = maps.float()[..., list(targets.tokens)].transpose(2, 3).contiguous()
    return Direction.of(targets, GRID, CPU, None, HEADS, weights, strength).step(rows)[0]


def defined(maps: Tensor, targets: Targets, masks: Tensor, weights: tuple[float, float]) -> Tensor:
    """The documented step, one entity and token after another: (B, K, L) in float64; masks (B, E, L)."""
    mean = maps.mean(1)
    step = torch.zeros(len(maps), len(targets.tokens), mean.shape[1], dtype=mean.dtype)
    strengths = targets.regions.strengths
    for entity, (group, strength) in enumerate(zip(targets.groups, strengths, strict=True)):
        mask = masks[:, entity].to(mean.dtype)
        whole = mean[..., list(group)].sum(-1)
        for token in group:
            share = (mean[..., token] * mask).sum(-1) / mean[..., token].sum(-1)
            own = weights[0] * (mask - share[:, None]) + weights[1] * (mask - whole)
            step[:, targets.tokens.index(token)] += strength * own
    return step


@pytest.mark.parametrize("loss", [token_loss, pixel_loss])
def test_it_is_the_gradient_by_probability_without_its_scale(loss) -> None:
    """Of entities that share no token, at full strength."""
    targets = Targets(GROUPS[:2], NOUNS[:2], Regions.of_boxes(REGIONS.boxes[:2]), (False, False))
    maps = probabilities(batch=1).requires_grad_()
    masks = targets.masks(GRID).unflatten(1, GRID)
    (expected,) = torch.autograd.grad(loss([maps[0].unflatten(1, GRID)], masks, targets.groups), maps)
    raised = -expected.sum(1)[..., list(targets.tokens)].transpose(1, 2)
    mean = maps.detach().mean(1)[..., list(targets.tokens)].transpose(1, 2)
    if loss is token_loss:
        scale, weights = 2 * mean.sum(-1, keepdim=True), (1.0, 0.0)
    else:
        members = targets.members(CPU).members.double()
        entity = members @ mean
        scale, weights = 2 * mean.shape[-1] * (members.t() @ (entity * (1 - entity))), (0.0, 1.0)
    found = stepped(maps.detach(), targets, weights)
    torch.testing.assert_close(found.double(), raised * scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.6, 1.4), (0.0, 1.0), (2.0, 0.0)])
@pytest.mark.parametrize("derived", [(False,) * 3, (False, True, False), (True,) * 3], ids=str)
def test_it_is_what_is_documented(weights, derived) -> None:
    """Within rounding, whether regions are drawn, derived, or both."""
    targets, maps = Targets(GROUPS, NOUNS, REGIONS, derived), probabilities()
    nouns = torch.stack([maps.mean(1)[..., list(own)].sum(-1) for own in NOUNS], 1)
    masks = torch.where(torch.tensor(derived)[:, None], own_masks(nouns), targets.masks(GRID)[None].double())
    expected = 3.0 * defined(maps, targets, masks, weights)
    found = stepped(maps, targets, weights, strength=3.0)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=3e-6)
    direction = Direction.of(targets, GRID, CPU, None, HEADS, weights, 3.0)
    assert expected.abs().max() <= direction.largest <= 3.0 * sum(weights) * 1.001


@pytest.mark.parametrize("derived", [False, True])
def test_flat_maps_and_tokens_without_attention_give_numbers(derived) -> None:
    targets = Targets(GROUPS, NOUNS, REGIONS, (derived,) * 3)
    flat = torch.full((1, HEADS, 30, TEXT), 1 / TEXT, dtype=torch.float64)
    found = stepped(flat, targets, (1.0, 1.0))
    masks = torch.zeros(1, 3, 30) if derived else targets.masks(GRID)[None]
    torch.testing.assert_close(found.double(), defined(flat, targets, masks, (1.0, 1.0)), rtol=0, atol=1e-6)
    nothing = stepped(torch.zeros_like(flat), targets, (1.0, 1.0))
    assert nothing.isfinite().all()


def test_later_inner_steps_keep_the_first_ones_masks() -> None:
    targets = Targets(GROUPS, NOUNS, REGIONS, (True,) * 3)
    direction = Direction.of(targets, GRID, CPU, None, HEADS, (1.0, 1.0), 1.0)
    first, second = (
        probabilities(seed=seed).float()[..., list(targets.tokens)].transpose(2, 3).contiguous()
        for seed in (1, 2)
    )
    _, own = direction.step(first)
    kept, same = direction.step(second, own)
    assert same is own
    assert (kept - direction.step(second)[0]).abs().max() > 0.1


def test_constants_are_made_once() -> None:
    targets = Targets(GROUPS, NOUNS, REGIONS, (False,) * 3)
    asked = (targets, GRID, CPU, None, HEADS, (1.0, 1.0))
    assert Direction.of(*asked, 1.0) is Direction.of(*asked, 1.0)
    assert Direction.of(*asked, 1.0) is not Direction.of(*asked, 2.0)
