"""The energy that guidance of the latent follows, and its step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from instance_composer.models.concentration import Targets, pixel_loss, token_loss
from instance_composer.models.concentration.energy import (
    ConcentrationObjective,
    MaxAttentionObjective,
    unit_step,
)
from instance_composer.models.regions import Regions

GROUPS, NOUNS = ((2, 3), (5,)), ((3,), (5,))
BOXES = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 0.5)]
BOTH = (True, True)


def targets(strengths: tuple[float, float] = (1.0, 1.0), derived: bool = False) -> Targets:
    return Targets(GROUPS, NOUNS, replace(Regions.of_boxes(BOXES), strengths=strengths), (derived,) * 2)


def maps() -> list[Tensor]:
    """Two layers of 4 x 4 cells and one of 8 x 8, two heads, seven tokens."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, side, side, 7, generator=generator).softmax(-1) for side in (4, 8, 4)]


def test_the_losses_of_the_paper_averaged_over_layers_and_sizes() -> None:
    coarse, fine = [maps()[0], maps()[2]], [maps()[1]]
    grids = [targets().masks(grid).unflatten(1, grid) for grid in ((4, 4), (8, 8))]
    parts = list(zip((coarse, fine), grids, strict=True))
    tokens = sum(token_loss(same, masks, GROUPS) for same, masks in parts) / 3
    pixels = sum(pixel_loss(same, masks, GROUPS) for same, masks in parts) / 2
    found = ConcentrationObjective(targets(), 0.7, 1.3)(maps(), BOTH)
    torch.testing.assert_close(found.value, 0.7 * tokens + 1.3 * pixels)
    # The distance is the share outside, whatever the weights: over tokens, then over entities.
    shares = [
        ConcentrationObjective(targets())(maps(), active).distance
        for active in ((True, False), (False, True))
    ]
    torch.testing.assert_close(found.distance, torch.stack(shares).mean())
    assert 0 < found.distance < 1


def test_entities_count_by_strength_and_only_while_active() -> None:
    first, second = (
        ConcentrationObjective(targets())(maps(), active).value for active in ((True, False), (False, True))
    )
    weighted = ConcentrationObjective(targets((0.5, 2.0)))(maps(), BOTH).value
    torch.testing.assert_close(weighted, (0.5 * first + 2.0 * second) / 2)


def test_an_own_map_is_a_mask_without_gradient() -> None:
    leaves = [one.requires_grad_() for one in maps()]
    energy = ConcentrationObjective(targets(derived=True))(leaves, BOTH).value
    gradients = torch.autograd.grad(energy, leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)
    other = ConcentrationObjective(targets())(maps(), BOTH).value
    assert energy.detach() != other


def test_attend_and_excite_looks_at_the_coarsest_maps() -> None:
    objective = MaxAttentionObjective(NOUNS, words=5)
    changed = maps()
    changed[1] = torch.zeros_like(changed[1])
    assert objective(maps(), BOTH).value == objective(changed, BOTH).value
    assert objective(maps(), BOTH).value >= objective(maps(), (True, False)).value


def test_a_step_has_the_size_of_the_distance_and_goes_downhill() -> None:
    gradient = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(1)) * 1e-3
    gradient[1] *= 1e4
    step = unit_step(gradient, torch.tensor([0.25, 0.75]))
    assert step.square().mean((1, 2, 3)).sqrt().tolist() == pytest.approx([0.25, 0.75])
    assert (step * gradient).sum() < 0
    assert not unit_step(torch.zeros(1, 4, 2, 2), torch.ones(1)).any()


def test_the_distance_is_the_mean_share_outside_over_tokens_then_over_entities() -> None:
    """By hand, on 2 x 2 cells of which each entity has one column."""
    shares = torch.zeros(2, 2, 4)
    shares[..., 1] = torch.tensor([[0.2, 0.1], [0.0, 0.1]])  # half of it in the left column
    shares[..., 2] = torch.tensor([[0.1, 0.1], [0.1, 0.1]])  # half as well
    shares[..., 3] = torch.tensor([[0.1, 0.2], [0.0, 0.7]])  # a tenth of it outside the right column
    boxes = [(0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)]
    two = Targets(((1, 2), (3,)), ((2,), (3,)), Regions.of_boxes(boxes), (False, False))
    objective = ConcentrationObjective(two, 0.7, 1.3)
    for active, expected in (((True, False), 0.5), ((False, True), 0.1), (BOTH, 0.3)):
        assert float(objective([shares[None]], active).distance) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1e-6, 1e-4, 1.0, 300.0])
def test_a_step_has_one_length_in_every_precision(dtype, size):
    gradient = torch.full((1, 4, 8, 8), size, dtype=dtype)
    step = unit_step(gradient, torch.ones(1))
    assert step.dtype == dtype
    torch.testing.assert_close(step.float(), -torch.ones(1, 4, 8, 8), atol=0.01, rtol=0)
