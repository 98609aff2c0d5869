"""Averages and shares of attention maps."""

from __future__ import annotations

import torch

from instance_composer.models.attention.heat_maps import (
    average_maps,
    concentration,
    own_regions,
    stretch,
)


def test_each_size_counts_once_at_the_finest():
    coarse, fine = torch.full((1, 2, 2, 3), 1.0), torch.full((1, 2, 4, 6), 3.0)
    torch.testing.assert_close(average_maps([coarse, fine]), torch.full((1, 2, 4, 6), 2.0))
    assert torch.equal(average_maps([fine]), fine)


def test_a_map_is_hot_above_the_middle_of_its_range():
    one = torch.tensor([[[0.10, 0.20], [0.16, 0.14]]])
    torch.testing.assert_close(stretch(one), torch.tensor([[[0.0, 1.0], [0.6, 0.4]]]))
    assert own_regions(one).tolist() == [[[0, 1], [1, 0]]]
    flat = torch.full((1, 2, 2), 0.3)
    assert stretch(flat).tolist() == [[[0, 0], [0, 0]]]


def test_concentration_is_a_share_and_does_not_depend_on_scale():
    maps = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    half = torch.tensor([[1.0, 0.5], [0.0, 0.0]]).expand(2, 2, 2)
    shares = concentration(maps, half)
    assert shares[0] == 2.5 / 4
    assert shares[1].isnan()
    assert torch.equal(concentration(maps * 7, half)[0], shares[0])
