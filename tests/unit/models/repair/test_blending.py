"""Blending: what lies outside the mask keeps its bits, others keep their places."""

from __future__ import annotations

import pytest
import torch

from instance_composer.models.repair.blending import blend, dilate, drawn_again, feathered


def square(x0, y0, x1, y1, side=32):
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_growing_stops_at_other_regions_and_under_what_is_in_front():
    own, beside, front = square(8, 8, 16, 16), square(18, 8, 26, 16), square(8, 14, 16, 22)
    again = drawn_again(own, [beside, front], [front], 4)
    assert not (again & beside).any()
    assert not (again & front).any()
    # Grown where nobody is, and a region behind or under another one is the instance's own to draw.
    assert again[4, 12]
    assert not again[3, 12]
    assert drawn_again(own, [own], [], 2)[10, 10]


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_dilating_adds_so_many_pixels_on_every_side(pixels):
    assert torch.equal(
        dilate(square(8, 8, 16, 16), pixels), square(8 - pixels, 8 - pixels, 16 + pixels, 16 + pixels)
    )


@pytest.mark.parametrize(
    "mask", [square(8, 8, 24, 24), square(0, 0, 16, 32), square(3, 3, 6, 6), square(0, 0, 32, 32)]
)
@pytest.mark.parametrize("pixels", [0, 2, 9])
def test_weights_are_nothing_outside_and_whole_inside(mask, pixels):
    weights = feathered(mask, pixels)
    assert (weights[~mask] == 0).all()
    assert weights.max() == pytest.approx(1.0)
    assert weights.min() >= 0
    # An edge of the picture is no edge of the mask.
    if mask[0].all():
        assert (weights[0] == 1).all()


def test_a_picture_keeps_its_bits_where_nothing_is_drawn():
    before, after = torch.rand(2, 32, 32, 3), torch.rand(2, 32, 32, 3)
    mask = square(8, 8, 24, 24)
    blended = blend(before, after, feathered(mask, 3))
    assert torch.equal(blended[:, ~mask], before[:, ~mask])
    torch.testing.assert_close(blended[:, 16, 16], after[:, 16, 16])
