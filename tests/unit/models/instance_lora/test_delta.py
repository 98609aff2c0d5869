"""Low-rank changes against whole matrices, and rows and cells that must not change."""

from __future__ import annotations

import pytest
import torch

from instance_composer.models.instance_lora.delta import LowRankDelta, add_to_cells, add_to_rows


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rows_get_the_changed_layer_and_others_keep_their_bits():
    layer = torch.nn.Linear(6, 5).double()
    delta = LowRankDelta.of(random(5, 2), random(2, 6, seed=1), 0.5, layer.weight.shape)
    inputs, rows = random(2, 7, 6, seed=2), torch.tensor([1, 4])
    outputs = layer(inputs)
    changed = add_to_rows(outputs, inputs, rows, delta)
    whole = torch.nn.functional.linear(inputs, layer.weight + 0.5 * delta.up @ delta.down, layer.bias)
    torch.testing.assert_close(changed[:, rows], whole[:, rows])
    others = [row for row in range(7) if row not in rows]
    assert torch.equal(changed[:, others], outputs[:, others])


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (1, 1)])
def test_cells_of_a_convolution_get_the_changed_one(size, stride):
    layer = torch.nn.Conv2d(4, 5, size, stride, padding=size // 2).double()
    # As files have it: up with sides of one cell.
    delta = LowRankDelta.of(random(5, 2, 1, 1), random(2, 4, size, size, seed=1), 2.0, layer.weight.shape)
    inputs = random(1, 4, 6, 6, seed=2)
    outputs = layer(inputs)
    cells = torch.zeros(outputs.shape[-2:], dtype=torch.bool)
    cells[1:3, 0:2] = True
    changed = add_to_cells(outputs, inputs, cells, delta, layer)
    weight = layer.weight + 2.0 * (delta.up @ delta.down.flatten(1)).view_as(layer.weight)
    whole = torch.nn.functional.conv2d(inputs, weight, layer.bias, stride, size // 2)
    torch.testing.assert_close(changed[..., cells], whole[..., cells])
    assert torch.equal(changed[..., ~cells], outputs[..., ~cells])


def test_matrices_of_another_layer_are_refused():
    with pytest.raises(ValueError, match="do not fit a layer of"):
        LowRankDelta.of(random(5, 2), random(2, 7), 1.0, torch.Size((5, 6)))
