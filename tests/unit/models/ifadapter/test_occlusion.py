"""Instances composed from front to back: against one cell after the other, and what has to stay as it was."""

import pytest
import torch

from instance_composer.models.ifadapter import InstanceAttention, semantic_map
from instance_composer.models.ifadapter.occlusion import occluded
from instance_composer.models.ifadapter.semantic_map_cropped import cropped_semantic_map
from instance_composer.models.ifadapter.semantic_map_gathered import gathered_semantic_map
from instance_composer.models.regions import Placement

GRID = (9, 12)
# Two overlap, a third lies over a corner of both, a fourth by itself.
BOXES = [(0.0, 0.0, 0.6, 0.7), (0.3, 0.2, 0.9, 0.8), (0.5, 0.0, 0.7, 0.5), (0.92, 0.9, 1.0, 1.0)]
KERNELS = pytest.mark.parametrize("kernel", [cropped_semantic_map, gathered_semantic_map])


def placement(boxes=BOXES, counts=None):
    return Placement.of_boxes(boxes, counts or [len(boxes)], GRID)


def inputs(rows=2, instances=4):
    generator = torch.Generator().manual_seed(1)
    layer = InstanceAttention(width=32, text_width=24, head_dim=8, gate_hidden=8, gate_kernel=3)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    query = torch.randn(rows, GRID[0] * GRID[1], 32, generator=generator)
    keys, values = layer.keys_values(torch.randn(instances, 5, 24, generator=generator))
    return query, keys[None].detach(), values[None].detach(), layer.gate()


def cell_by_cell(weights, covered, occlusion):
    """Weights (slots, h, w), the last in front, by the words of the module."""
    composed, shares = weights.clone(), weights * covered
    highest = shares.amax((1, 2))
    for y, x in torch.nonzero(covered.sum(0) > 1).tolist():
        left, seen = 1.0, {}
        for slot in range(len(covered) - 1, -1, -1):
            if covered[slot, y, x]:
                seen[slot] = left * float(weights[slot, y, x])
                left *= 1 - occlusion * float(weights[slot, y, x] / highest[slot])
        whole = sum(float(weights[slot, y, x]) for slot in seen)
        for slot, share in seen.items():
            composed[slot, y, x] = share / sum(seen.values()) * whole
    return composed


@pytest.mark.parametrize("occlusion", [0.3, 1.0])
def test_each_cell_is_composed_from_front_to_back(occlusion):
    place = placement()
    weights = torch.rand(3, 1, 5, *GRID, generator=torch.Generator().manual_seed(2))
    found = occluded(weights, place, occlusion)
    for row in range(3):
        expected = cell_by_cell(weights[row, 0, :4], place.covered, occlusion)
        inside = place.covered
        torch.testing.assert_close(found[row, 0, :4][inside], expected[inside], atol=1e-6, rtol=0)
    assert torch.equal(found[:, :, 4], weights[:, :, 4]), "empty slots keep their weight"
    alone = place.covered.sum(0) <= 1
    assert torch.equal(found[..., alone], weights[..., alone]), "cells of one instance keep their bits"


def test_an_adapter_that_takes_away_is_composed_alike():
    place = placement()
    weights = torch.rand(1, 1, 5, *GRID, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(occluded(-weights, place, 0.6), -occluded(weights, place, 0.6))


def test_in_front_of_another_everything_at_its_strongest_cell():
    place = placement(BOXES[:2])
    weights = torch.full((1, 1, 3, *GRID), 0.1)
    found = occluded(weights, place, 1.0)[0, 0]
    shared = place.covered.all(0)
    torch.testing.assert_close(found[1][shared], torch.full((int(shared.sum()),), 0.2))
    assert (found[0][shared] == 0).all()


@KERNELS
def test_off_is_the_published_sum_to_the_bit(kernel):
    given = (*inputs(), placement())
    assert torch.equal(kernel(*given, 0.0), kernel(*given))


def test_both_computations_agree_for_several_rows():
    given = (*inputs(rows=4, instances=6), placement([*BOXES, *BOXES[:2]], [4, 2]))
    found = cropped_semantic_map(*given, 0.7)
    torch.testing.assert_close(gathered_semantic_map(*given, 0.7), found, atol=2e-6, rtol=0)
    assert (found - cropped_semantic_map(*given)).abs().max() > 1e-3


def test_only_shared_cells_change_and_the_order_of_the_stack_matters():
    query, keys, values, gate = inputs()
    place = placement()
    plain, found = (semantic_map(query, keys, values, gate, place, one) for one in (0.0, 1.0))
    shared = (place.covered.sum(0) > 1).flatten()
    assert torch.equal(found[:, ~shared], plain[:, ~shared])
    order = [1, 0, 2, 3]
    turned = placement([BOXES[n] for n in order])
    other = semantic_map(query, keys[:, order], values[:, order], gate, turned, 1.0)
    same = semantic_map(query, keys[:, order], values[:, order], gate, turned)
    torch.testing.assert_close(same, plain, atol=2e-6, rtol=0)
    assert (other - found).abs().max() > 1e-3
