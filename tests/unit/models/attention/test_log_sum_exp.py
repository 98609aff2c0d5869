"""Attention with its log-sum-exp, against plain matrices in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from instance_composer.models.attention.log_sum_exp import attend, attend_in_parts

# float32 sums of nine numbers of order one.
TOLERANCE = 1e-6


def reference(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    scores = (query.double() @ key.double().transpose(-1, -2)) * query.shape[-1] ** -0.5
    return scores.softmax(-1) @ value.double(), scores.logsumexp(-1)


@pytest.mark.parametrize("turned", list(itertools.product((False, True), repeat=3)))
def test_tensors_whose_last_axis_is_not_in_a_row(turned: tuple[bool, bool, bool]) -> None:
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(1, 2, 16, length, generator=generator).transpose(2, 3)
        if strided
        else torch.randn(1, 2, length, 16, generator=generator)
        for strided, length in zip(turned, (5, 9, 9), strict=True)
    ]
    for found, expected in zip(attend(*given), reference(*given), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("shape", [(1, 2, 5, 0), (1, 2, 0, 9), (0, 2, 5, 9), (1, 2, 0, 0)])
@pytest.mark.parametrize("function", [attend, attend_in_parts])
def test_nothing_attends_nothing(function, shape: tuple[int, int, int, int]) -> None:
    batch, heads, rows, keys = shape
    query, key = torch.ones(batch, heads, rows, 16), torch.ones(batch, heads, keys, 16)
    output, sums = function(query, key, key)
    assert torch.equal(output, torch.zeros(batch, heads, rows, 16))
    if keys == 0:
        assert torch.equal(sums, torch.full((batch, heads, rows), -math.inf))
    assert sums.shape == (batch, heads, rows)
