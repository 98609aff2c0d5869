"""What regions with prompts of their own must hold to, whatever the model gives."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from instance_composer.models.baselines.regional import (
    attend_by_region,
    attend_jointly,
    average_predictions,
    surround,
)

NOISE = torch.Generator().manual_seed(0)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=NOISE)


def test_predictions_are_means_of_the_regions_and_the_whole_elsewhere():
    whole, parts = noise(2, 3, 4), noise(2, 2, 3, 4)
    covered = torch.zeros(2, 3, 4, dtype=torch.bool)
    covered[0, :, :2], covered[1, :, 1:3] = True, True
    found = average_predictions(whole, parts, covered)
    torch.testing.assert_close(found[..., 0], parts[0, ..., 0])
    torch.testing.assert_close(found[..., 1], parts[:, ..., 1].mean(0))
    torch.testing.assert_close(found[..., 2], parts[1, ..., 2])
    torch.testing.assert_close(found[..., 3], whole[..., 3])


def test_a_region_sees_its_own_cells_and_a_colour_around_them():
    sample, around = noise(2, 3, 4), noise(2, 2, 3, 4)
    covered = torch.rand(2, 3, 4, generator=NOISE) > 0.5
    seen = surround(sample, around, covered)
    for region in range(2):
        assert (seen[region][:, covered[region]] == sample[:, covered[region]]).all()
        assert (seen[region][:, ~covered[region]] == around[region][:, ~covered[region]]).all()


def test_cells_attend_to_the_front_region_that_covers_them():
    heads, query, keys, values, whole = 2, noise(5, 8), noise(2, 3, 8), noise(2, 3, 8), noise(5, 8)
    covered = torch.tensor([[True, True, False, False, False], [False, True, True, False, False]])
    found = attend_by_region(query, keys, values, heads, whole, covered, 0.25)

    def attended(region: int, cell: int) -> torch.Tensor:
        q, k, v = (
            query[cell].view(heads, 1, 4),
            *(x[region].view(3, heads, 4).transpose(0, 1) for x in (keys, values)),
        )
        return F.scaled_dot_product_attention(q, k, v).flatten()

    for cell, region in ((0, 0), (1, 1), (2, 1)):
        torch.testing.assert_close(found[cell], 0.25 * whole[cell] + 0.75 * attended(region, cell))
    assert (found[3:] == whole[3:]).all()
    assert torch.equal(attend_by_region(query, keys, values, heads, whole, covered, 1.0), whole)


def test_cells_attend_to_all_prompts_that_cover_them_small_ones_more_sharply():
    heads, query, keys, values = 2, noise(4, 8), noise(2, 3, 8), noise(2, 3, 8)
    covered = torch.tensor([[True] * 4, [True, False, False, False]])
    found = attend_jointly(query, keys, values, heads, covered)
    for head in range(heads):
        own = slice(4 * head, 4 * head + 4)
        logits = [query[:, own] @ keys[n, :, own].T / 2 for n in range(2)]
        both = (
            torch.cat((logits[0][0], 4 * logits[1][0])).softmax(0) @ torch.cat((values[0], values[1]))[:, own]
        )
        torch.testing.assert_close(found[0, own], both)
        torch.testing.assert_close(found[1:, own], logits[0][1:].softmax(1) @ values[0][:, own])
    nowhere = torch.tensor([[True] * 4, [False] * 4])
    assert attend_jointly(query, keys, values, heads, nowhere).isfinite().all()


def test_small_regions_are_as_exact_in_halves():
    """A factor of hundreds on logits of ten in halves would leave steps of a whole one between them."""
    heads, cells = 2, 4096
    query, keys, values = (x.half() for x in (3 * noise(cells, 32), 3 * noise(2, 77, 32), noise(2, 77, 32)))
    covered = torch.ones(2, cells, dtype=torch.bool)
    covered[1, 40:] = False
    found = attend_jointly(query, keys, values, heads, covered)
    exact = attend_jointly(query.float(), keys.float(), values.float(), heads, covered)
    assert found.dtype == torch.float16
    # Weights and values are rounded to 11 bits.
    torch.testing.assert_close(found.float(), exact, atol=4e-3, rtol=0)
