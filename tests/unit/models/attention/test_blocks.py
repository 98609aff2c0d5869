"""Relations taken apart into blocks."""

from __future__ import annotations

import sys

import pytest
import torch
from dense_attention import dense_attention, dense_weights

from instance_composer.models.attention import seeing
from instance_composer.models.attention.blocks import choose_blocks
from instance_composer.models.attention.row_groups import RowGroups
from instance_composer.models.attention.seeing import Sway

# Two float32 sums of a thousand numbers of order one, in another order.
TOLERANCE = 2e-6
SWAYS = {
    "joined": lambda count: Sway((1.0,) * count),
    "half isolated": lambda count: Sway((0.7,) * count, isolated=True),
    "of strengths of their own": lambda count: Sway(tuple(0.5 + 0.4 * n / count for n in range(count))),
}


def many(count: int, sway: Sway) -> tuple[RowGroups, int]:
    """Instances side by side in a picture of 400 cells, with captions of two tokens."""
    captions = [torch.arange(5 + 2 * n, 7 + 2 * n) for n in range(count)]
    picture = torch.arange(5 + 2 * count, 405 + 2 * count)
    owner = torch.arange(400) % (count + 1) - 1
    return seeing.joint(torch.arange(5), captions, picture, owner, sway), 405 + 2 * count


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_blocks_are_the_relation_and_none_twice(density: float) -> None:
    generator = torch.Generator().manual_seed(int(10 * density))
    for _ in range(20):
        groups, pieces = torch.randint(1, 12, (2,), generator=generator).tolist()
        seen = torch.rand(groups, pieces, generator=generator) < density
        rows = torch.randint(1, 50, (groups,), generator=generator)
        keys = torch.randint(1, 50, (pieces,), generator=generator)
        covered = torch.zeros(groups, pieces, dtype=torch.long)
        for some, them in choose_blocks(seen, rows, keys):
            assert some
            assert them
            covered[torch.tensor(some)[:, None], torch.tensor(them)] += 1
        assert torch.equal(covered, seen.long())


def test_the_largest_block_is_first_and_nothing_is_no_block() -> None:
    # All three groups see the two large pieces; each has a small one of its own.
    seen = torch.cat((torch.ones(3, 2), torch.eye(3)), 1).bool()
    rows, keys = torch.tensor([10, 5, 5]), torch.tensor([30, 20, 3, 2, 1])
    blocks = list(choose_blocks(seen, rows, keys))
    assert blocks == [([0, 1, 2], [0, 1]), ([0], [2]), ([1], [3]), ([2], [4])]
    assert list(choose_blocks(seen, rows * 0, keys)) == []


@pytest.mark.parametrize("sway", SWAYS.values(), ids=SWAYS)
def test_the_work_of_choosing_grows_with_the_pairs_of_instances_at_most(sway) -> None:
    """Calls of functions, counted: twice the instances, at most four times the work."""

    def work(count: int) -> int:
        groups, _ = many(count, sway(count))
        calls = 0

        def called(*_: object) -> None:
            nonlocal calls
            calls += 1

        before = sys.getprofile()
        sys.setprofile(called)
        try:
            parts = groups._parts
        finally:
            sys.setprofile(before)
        assert parts
        return calls

    assert work(32) <= 4 * work(16)


@pytest.mark.parametrize("sway", SWAYS.values(), ids=SWAYS)
def test_many_instances_equal_a_dense_matrix(sway) -> None:
    groups, length = many(200, sway(200))
    # Two calls for what is common, a few for what each instance and each caption has beside it.
    assert len(groups._parts) <= 2 + 4 * 200
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, length, 8, generator=generator) for _ in range(3))
    expected = dense_attention(query, key, value, dense_weights(groups, length, length))
    torch.testing.assert_close(groups.attend(query, key, value), expected, atol=TOLERANCE, rtol=0)
