"""Silhouettes: within their boxes, never empty, and boxes where a map says nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instance_composer.models.regions import Regions
from instance_composer.models.silhouettes import (
    LEAST_SHARE,
    GatheredMaps,
    grow_silhouettes,
    otsu,
    silhouette,
)

GRIDS = [(8, 8), (12, 20), (38, 26)]


def blob(grid, row, column, radius):
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).float()


@pytest.mark.parametrize("grid", GRIDS)
def test_a_bright_thing_is_its_silhouette(grid):
    height, width = grid
    row, column, radius = height / 2, width / 2, height / 5
    thing, around = blob(grid, row, column, radius), blob(grid, row, column, radius + 2)
    regions = Regions.of_boxes([[0.1, 0.1, 0.9, 0.9]])
    grown = grow_silhouettes(0.01 + 0.05 * thing[None], regions)
    found = grown.regions.place(grid).covered[0]
    # Smoothing and the cut near the dark part leave a rim of a cell or two.
    assert (found & thing.bool()).equal(thing.bool())
    assert not (found & ~around.bool()).any()
    inside = regions.place(grid).covered[0]
    assert grown.shares[0] == pytest.approx(float(found.sum() / inside.sum()), abs=0.02)


@given(
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.integers(0, 10_000),
    st.sampled_from(GRIDS),
)
@settings(deadline=None)
def test_silhouettes_lie_within_their_boxes_and_are_never_empty(ends, seed, grid):
    x0, x1 = sorted(ends[:2])
    y0, y1 = sorted(ends[2:])
    regions = Regions.of_boxes([[x0, y0, x1, y1]])
    maps = torch.rand(1, *grid, generator=torch.Generator().manual_seed(seed)) ** 3
    grown = grow_silhouettes(maps, regions).regions
    for seen in (grid, (grid[0] // 2, grid[1] // 2), (2 * grid[0], 2 * grid[1])):
        box, own = regions.place(seen), grown.place(seen)
        assert (box is None) == (own is None)
        if box is not None:
            assert not (own.covered & ~box.covered).any()
            assert own.covered.any()


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_an_even_map_gives_the_box(value):
    regions = Regions.of_boxes([[0.1, 0.1, 0.6, 0.9]])
    grown = grow_silhouettes(torch.full((1, 16, 16), value), regions)
    assert grown.regions.masks == (None,)
    assert grown.regions.boxes == regions.boxes
    assert grown.shares == (None,)


def test_a_box_without_height_stays_where_a_finer_grid_has_no_cell_of_it():
    """Its line is inside a cell of 38, and between two of 152."""
    regions = Regions.of_boxes([[0.0, 0.75, 1.0, 0.75]])
    maps = torch.rand(1, 38, 26, generator=torch.Generator().manual_seed(0)) ** 3
    grown = grow_silhouettes(maps, regions)
    assert (grown.regions.masks, grown.shares) == ((None,), (None,))


def test_nearly_even_maps_and_specks_give_the_box():
    noise = 1 + 0.01 * torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    assert silhouette(noise) is None
    speck = torch.full((32, 32), 0.1)
    speck[10:13, 10:13] = 9.0
    assert 9 / speck.numel() < LEAST_SHARE
    assert silhouette(speck) is None
    assert silhouette(torch.ones(1, 1)) is None
    assert silhouette(torch.ones(0, 3)) is None


def test_a_drawn_mask_stays():
    mask = blob((32, 32), 10, 10, 5).bool()
    box = (0.0, 0.0, 1.0, 1.0)
    regions = Regions((box, box), (mask, None), (1.0, 1.0), ((0.0, 1.0),) * 2)
    grown = grow_silhouettes(torch.stack([blob((16, 16), 8, 8, 4)] * 2), regions)
    assert grown.regions.masks[0] is mask
    assert grown.shares[0] is None
    assert grown.regions.masks[1] is not None


def test_the_threshold_leaves_least_variance_within_both_parts():
    values = torch.rand(60, generator=torch.Generator().manual_seed(3)).square()

    def within(threshold):
        upper, lower = values[values >= threshold], values[values < threshold]
        return len(upper) * upper.var(unbiased=False) + len(lower) * lower.var(unbiased=False)

    candidates = values.sort().values[1:]
    assert otsu(values) == min(candidates, key=within)


def test_maps_of_several_sizes_count_alike_and_batches_stay_apart():
    maps = GatheredMaps()
    assert maps.mean(2) is None
    fine, coarse = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 4, 4)
    for one in (fine, 3 * fine, coarse):
        maps.add(one)
    doubled = torch.nn.functional.interpolate(coarse, (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps.mean(2), (2 * fine + doubled) / 2)
    assert maps.mean(1) is None


def test_a_limb_fainter_than_the_body_is_part_of_the_silhouette():
    """In brightness it is nearer to what surrounds the thing than to its body."""
    values = torch.full((32, 32), 0.1)
    values[12:24, 8:24] = 1.0
    values[4:12, 14:20] = 0.5
    found = silhouette(values)
    assert found is not None
    assert found[5:24, 15:19].all()
    assert not found[:, :5].any()
    assert not found[:, 27:].any()
