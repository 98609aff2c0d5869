"""Attention by groups of rows against a dense matrix of weights, in all its ways of being computed."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from dense_attention import dense_attention, dense_weights
from torch import Tensor

from instance_composer.models.attention import log_sum_exp, seeing
from instance_composer.models.attention.row_groups import RowGroups, Seen, compact
from instance_composer.models.attention.seeing import Sway

# Two float32 sums of a few hundred numbers of order one, in another order.
TOLERANCE = 1e-6
GRID = (6, 5)
PROMPT, CAPTIONS = 7, (4, 3, 5)
TEXT = sum(CAPTIONS) + PROMPT


def inputs(rows: int, keys: int, key_heads: int = 4, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(rows + keys)
    sizes = ((2, 4, rows, 8), (2, key_heads, keys, 8), (2, key_heads, keys, 8))
    return [torch.randn(size, generator=generator).to(dtype) for size in sizes]


def places(first: int = 0) -> tuple[Tensor, list[Tensor]]:
    """Captions, then the prompt: the prompt's and the captions' places."""
    ends = [first + sum(CAPTIONS[:n]) for n in range(len(CAPTIONS) + 1)]
    captions = [torch.arange(a, b) for a, b in itertools.pairwise(ends)]
    return torch.arange(ends[-1], ends[-1] + PROMPT), captions


def owner() -> Tensor:
    """A book, a vase over it, and a third instance of which nothing is to be seen."""
    covered = torch.zeros(3, *GRID, dtype=torch.bool)
    covered[0, 1:5, 0:4] = True
    covered[2, 2:4, 2:5] = True
    covered[1, 2:3, 2:3] = True
    return seeing.owners(covered.flatten(1))


CASES = {
    "joined": Sway((1.0, 1.0, 1.0)),
    "caption alone": Sway((1.0, 1.0, 1.0), prompt=0.0),
    "prompt at a third": Sway((1.0, 1.0, 1.0), prompt=1 / 3),
    "half strength": Sway((0.5, 1.0, 0.5), prompt=0.25),
    "twice": Sway((2.0, 1.0, 3.0)),
    "isolated": Sway((1.0, 1.0, 1.0), isolated=True),
    "half isolated": Sway((0.5, 1.0, 0.25), isolated=True),
}


def plans(sway: Sway):
    prompt, captions = places()
    picture = torch.arange(TEXT, TEXT + 30 + 2)
    yield seeing.joint(prompt, captions, picture, owner(), sway), TEXT + 32, TEXT + 32
    yield seeing.crossed(prompt, captions, owner(), sway), 30, TEXT
    yield seeing.apart(prompt, captions), TEXT, TEXT
    yield seeing.within(owner(), sway), 30, 30
    # The picture first, the text in two pieces behind it.
    behind, after = places(32)
    more = [torch.cat((one, one + TEXT)) for one in (behind, *after)]
    yield seeing.joint(more[0], more[1:], torch.arange(32), owner(), sway), 32 + 2 * TEXT, 32 + 2 * TEXT


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("sway", CASES.values(), ids=CASES)
def test_equals_a_dense_matrix(sway, key_heads):
    for groups, rows, keys in plans(sway):
        given = inputs(rows, keys, key_heads)
        expected = dense_attention(*given, dense_weights(groups, rows, keys))
        for found in (
            groups.attend(*given),
            groups.attend_each(*given, F.scaled_dot_product_attention),
        ):
            torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def test_rules_written_out():
    """The weights themselves, said once more without the code's own pieces."""
    prompt, captions = places()
    picture = torch.arange(TEXT, TEXT + 32)
    mine = owner()
    weights = dense_weights(
        seeing.joint(prompt, captions, picture, mine, Sway((0.5, 1.0, 2.0), prompt=0.4)), TEXT + 32, TEXT + 32
    )
    expected = torch.zeros(TEXT + 32, TEXT + 32)
    kinds = [-3] * (TEXT + 32)
    for place in prompt.tolist():
        kinds[place] = -1
    for number, caption in enumerate(captions):
        for place in caption.tolist():
            kinds[place] = 100 + number
    for cell, number in enumerate([*mine.tolist(), -1, -1]):
        kinds[TEXT + cell] = number if number >= 0 else -2
    strength, inside = (0.5, 1.0, 2.0), (0.7, 0.4, 0.4)
    for row, its in enumerate(kinds):
        for key, other in enumerate(kinds):
            if other >= 100:
                weight = 1.0 if its == other else strength[other - 100] if its == other - 100 else 0.0
            elif its >= 100:
                weight = float(other == its - 100)
            else:
                weight = inside[its] if other == -1 and its >= 0 else 1.0
            expected[row, key] = weight
    torch.testing.assert_close(weights, expected)


def test_strength_0_is_the_picture_without_instances():
    prompt, captions = places()
    picture = torch.arange(TEXT, TEXT + 30)
    groups = seeing.joint(
        prompt, captions, picture, owner(), Sway((0.0, 0.0, 0.0), prompt=0.2, isolated=True)
    )
    query, key, value = inputs(TEXT + 30, TEXT + 30)
    own = slice(sum(CAPTIONS), None)
    expected = log_sum_exp.attend(query[:, :, own], key[:, :, own], value[:, :, own])[0]
    assert torch.equal(groups.attend(query, key, value)[:, :, own], expected)


def test_an_instance_sees_more_of_its_caption_the_stronger_it_is():
    prompt, captions = places()
    query, key, _ = inputs(30, TEXT)
    value = torch.zeros(2, 4, TEXT, 8)
    value[:, :, captions[0]] = 1.0
    shares = []
    for strength in (0.0, 0.5, 1.0, 2.0, 1e6):
        groups = seeing.crossed(prompt, captions, owner(), Sway((strength, 1.0, 1.0)))
        shares.append(groups.attend(query, key, value)[:, :, owner() == 0].mean().item())
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
def test_crossed_a_strength_over_1_is_that_of_words(strength):
    prompt, captions = places()
    spoken = [captions[0][1:-1], None, captions[2][:0]]
    sway = Sway((strength,) * 3, prompt=0.25)
    weights = dense_weights(seeing.crossed(prompt, captions, owner(), sway, spoken=spoken), 30, TEXT)
    expected = torch.zeros(30, TEXT)
    for row, mine in enumerate(owner().tolist()):
        expected[row, prompt] = 1.0 if mine < 0 else 1.0 - 0.75 * min(strength, 1.0)
        if mine >= 0:
            expected[row, captions[mine]] = strength
        if mine == 0:
            expected[row, captions[0][[0, -1]]] = min(strength, 1.0)
    torch.testing.assert_close(weights, expected)


def test_the_topmost_owns_a_cell():
    covered = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]]).bool()
    assert seeing.owners(covered).tolist() == [0, 1, 2, -1]
    assert seeing.owners(covered[:0]).tolist() == [-1] * 4


def test_what_all_see_is_one_call(monkeypatch):
    """Prompt and picture attend each other in one call; an instance adds its few keys."""
    sizes = []

    def count(query, key, value):
        sizes.append((query.shape[2], key.shape[2]))
        return attend(query, key, value)

    attend = log_sum_exp.attend
    monkeypatch.setattr("instance_composer.models.attention.row_groups.attend", count)
    prompt, captions = places()
    groups = seeing.joint(prompt, captions, torch.arange(TEXT, TEXT + 30), owner(), Sway((1.0, 1.0, 1.0)))
    groups.attend(*inputs(TEXT + 30, TEXT + 30))
    cells = [(owner() == number).sum().item() for number in range(3)]
    assert sizes[0] == (PROMPT + 30, PROMPT + 30)
    assert sum(rows * keys for rows, keys in sizes[1:]) == sum(
        n * c + c * (n + c) for n, c in zip(cells, CAPTIONS, strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    for groups, rows, keys in plans(CASES["half isolated"]):
        given = inputs(rows, keys, dtype=dtype)
        expected = dense_attention(*(one.float() for one in given), dense_weights(groups, rows, keys))
        found = groups.attend(*given)
        assert found.dtype == dtype
        # Outputs of order one, rounded a few times at 2^-11 or 2^-8.
        bound = 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(found.float(), expected, atol=bound, rtol=0)


def test_parts_of_plain_matrices_equal_the_kernel(monkeypatch):
    query, key, value = inputs(35, 13)
    expected, sums = log_sum_exp.attend(query, key, value)
    monkeypatch.setattr(log_sum_exp, "SCORES_AT_ONCE", 8 * 13 * 5)
    found, others = log_sum_exp.attend_in_parts(query, key, value)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(others, sums, atol=4 * TOLERANCE, rtol=0)


def test_no_rows_and_no_keys_are_nothing():
    nothing = torch.arange(0)
    groups = RowGroups.of([torch.arange(3), nothing], [(nothing, [Seen(0)]), (torch.arange(2), [Seen(1)])])
    query, key, value = inputs(4, 3)
    assert groups.groups == ()
    assert not groups.attend(query, key, value).any()
    assert compact(torch.tensor([3, 2, 4])) == slice(2, 5)
    assert compact(torch.tensor([4, 2])).tolist() == [2, 4]
