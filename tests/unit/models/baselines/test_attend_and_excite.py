"""The objective of Attend-and-Excite."""

from __future__ import annotations

import pytest
import torch

from instance_composer.models.baselines.attend_and_excite import max_attention_loss

WORDS = 4


def maps_with(*peaks: tuple[int, int, int], others: float = 0.0) -> torch.Tensor:
    """Two heads whose tokens 1 to 4 share attention evenly, but for (token, row, column) peaks."""
    attention = torch.full((2, 5, 6, 8), 0.05)
    attention[..., 0] = 1 - 0.05 * 7
    for token, row, column in peaks:
        attention[:, row, column, token] = 1.0
    return attention


def test_the_most_neglected_token_counts() -> None:
    even = max_attention_loss([maps_with()], [[1], [2]], WORDS)
    one = max_attention_loss([maps_with((1, 2, 2))], [[1], [2]], WORDS)
    both = max_attention_loss([maps_with((1, 2, 2), (2, 0, 5))], [[1], [2]], WORDS)
    # Without a peak each of four words has a quarter of the attention.
    assert even == pytest.approx(0.75)
    assert one >= even
    # The weight of the middle of the kernel is 0.619, and a corner sees its peak once.
    assert both == pytest.approx(1 - (0.619 + 0.25 * (1 - 0.619)), abs=0.05)


def test_start_and_padding_do_not_count() -> None:
    maps = maps_with((1, 2, 2))
    other = maps.clone()
    other[..., 0], other[..., 6] = 0.0, 0.9
    same = max_attention_loss([other], [[1]], WORDS)
    assert same == max_attention_loss([maps], [[1]], WORDS)


def test_the_gradient_asks_for_more_attention_around_the_highest_place() -> None:
    maps = maps_with((1, 2, 2)) * 0.05
    maps.requires_grad_()
    (gradient,) = torch.autograd.grad(max_attention_loss([maps], [[1]], WORDS), maps)
    around = torch.zeros(5, 6, dtype=torch.bool)
    around[1:4, 1:4] = True
    assert torch.equal(gradient[..., 1].sum(0) < 0, around)
    assert gradient[..., 0].abs().sum() == 0


def test_no_subject_costs_nothing() -> None:
    assert max_attention_loss([maps_with()], [], WORDS) == 0


@pytest.mark.parametrize("token", [0, WORDS + 1, -1])
def test_a_token_that_is_no_word_is_told(token: int) -> None:
    with pytest.raises(ValueError, match=rf"token {token} is no word of the prompt, .* tokens 1 to {WORDS}"):
        max_attention_loss([maps_with()], [[1, token]], WORDS)


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (1, 1)])
def test_maps_one_cell_high_or_wide_give_a_number(shape: tuple[int, int]) -> None:
    """All of a token's attention everywhere: nothing is neglected, whatever stands beyond the edge."""
    attention = torch.zeros(2, *shape, 8)
    attention[..., 1] = 1.0
    assert max_attention_loss([attention], [[1]], WORDS) == pytest.approx(0.0, abs=1e-6)


def test_words_share_attention_as_sharply_as_there() -> None:
    """One cell and two words 0.01 apart: the second has e / (1 + e) = 0.7311 of the two."""
    attention = torch.tensor([0.93, 0.02, 0.03, 0.02]).view(1, 1, 1, 4)
    assert max_attention_loss([attention], [[2]], 2) == pytest.approx(1 - 0.731059, abs=1e-5)
