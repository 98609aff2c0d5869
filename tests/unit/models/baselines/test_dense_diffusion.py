"""What modulated attention must hold to, by the paper's formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from instance_composer.models.baselines.dense_diffusion import (
    ACTING,
    CROSS_WEIGHT,
    NO_SEGMENT,
    Segments,
    attend_modulated,
    weight_at,
)

NOISE = torch.Generator().manual_seed(0)
HEADS, CELLS, TOKENS, WIDTH = 2, 6, 5, 8
CELLS_OF = torch.tensor([0, 0, 0, 1, 1, 2])
TOKENS_OF = torch.tensor([NO_SEGMENT, 0, 1, 2, NO_SEGMENT])


@pytest.fixture
def row():
    return tuple(
        torch.randn(count, WIDTH, generator=NOISE, dtype=torch.float64) for count in (CELLS, TOKENS, TOKENS)
    )


def heads(x: torch.Tensor) -> torch.Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(0, 1)


def plain(query, key, value):
    return F.scaled_dot_product_attention(heads(query), heads(key), heads(value)).transpose(0, 1).flatten(1)


def test_it_is_the_papers_sum_of_terms(row):
    query, key, value = row
    same, share = Segments(CELLS_OF, TOKENS_OF).cross
    weight = 0.7
    scores = heads(query) @ heads(key).transpose(-1, -2)
    # Equation 2: M = w R (max - QK)(1 - S) - w (1 - R)(QK - min)(1 - S).
    raised = same * (scores.amax(-1, keepdim=True) - scores) * (1 - share)
    lowered = ~same * (scores - scores.amin(-1, keepdim=True)) * (1 - share)
    moved = (scores + weight * (raised - lowered)) / (WIDTH // HEADS) ** 0.5
    expected = (moved.softmax(-1) @ heads(value)).transpose(0, 1).flatten(1)
    found = attend_modulated(query, key, value, HEADS, same, share, weight)
    # The logits are made in float32.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_without_weight_and_for_a_segment_of_everything_nothing_moves(row):
    same, share = Segments(CELLS_OF, TOKENS_OF).cross
    near = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(attend_modulated(*row, HEADS, same, share, 0.0), plain(*row), **near)
    same, share = Segments(torch.zeros(CELLS), torch.zeros(TOKENS)).cross
    torch.testing.assert_close(attend_modulated(*row, HEADS, same, share, 1.0), plain(*row), **near)


def test_who_belongs_together_and_how_large_a_part_it_is():
    segments = Segments(CELLS_OF, TOKENS_OF)
    same, share = segments.cross
    assert same[0].tolist() == [False, True, False, False, False]
    assert share.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 6, 0])
    same, share = segments.itself
    assert same[3].tolist() == [False, False, False, True, True, False]
    assert share[:, 0].tolist() == pytest.approx([1 / 2] * 3 + [1 / 3] * 2 + [1 / 6])


def test_it_fades_with_time_and_ends():
    assert weight_at(CROSS_WEIGHT, 1.0, 0.0) == 1.0
    assert weight_at(CROSS_WEIGHT, 0.5, 0.2) == pytest.approx(1 / 32)
    assert weight_at(CROSS_WEIGHT, 0.7, ACTING) == 0.0
