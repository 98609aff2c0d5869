"""Weights that are not finite numbers are named."""

from __future__ import annotations

import pytest
import torch

from instance_composer.models.finite import is_finite, require_finite
from instance_composer.models.weights import CheckpointError

TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_one_entry_is_enough(dtype):
    value = torch.ones(3, 4).to(dtype)
    assert is_finite(value)
    damaged = value.float()
    damaged[1, 2] = float("nan")
    assert not is_finite(damaged.to(dtype))


def test_entries_whose_sum_is_too_large_are_finite():
    assert is_finite(torch.full((4,), 3e38))
    assert not is_finite(torch.tensor([float("inf"), float("-inf")]))
    assert is_finite(torch.zeros(0))
    assert is_finite(torch.tensor([1, 2]))


def test_the_weights_are_named():
    state = {"whole": torch.ones(2), "broken": torch.tensor([1.0, float("inf")])}
    with pytest.raises(CheckpointError, match=r"This file holds .* in 1 of 2 weights: broken"):
        require_finite(state, "This file")
