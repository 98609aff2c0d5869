"""Probabilities of chosen tokens against a plain softmax over all of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from instance_composer.models.attention import probabilities
from instance_composer.models.attention.probabilities import token_probabilities

HEADS, TOKENS = 3, [5, 0, 11]


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, key = (4 * torch.randn(2, n, HEADS * 8, generator=generator) for n in (35, 13))
    return query.to(dtype), key.to(dtype)


def plain(query: Tensor, key: Tensor) -> Tensor:
    query, key = (x.double().unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (query, key))
    return (query @ key.transpose(-1, -2) / 8**0.5).softmax(-1)[..., TOKENS]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_softmax_runs_over_all_tokens_in_float32(dtype) -> None:
    query, key = inputs(dtype)
    found = token_probabilities(query, key, HEADS, TOKENS)
    assert (found.shape, found.dtype) == ((2, HEADS, 35, 3), torch.float32)
    torch.testing.assert_close(found, plain(query, key).float(), rtol=1e-4, atol=1e-6)


def test_parts_change_nothing(monkeypatch) -> None:
    query, key = inputs()
    whole = token_probabilities(query, key, HEADS, TOKENS)
    monkeypatch.setattr(probabilities, "SCORES_AT_ONCE", 8 * 2 * HEADS * 13)
    torch.testing.assert_close(token_probabilities(query, key, HEADS, TOKENS), whole)


def test_gradients_reach_query_and_key() -> None:
    leaves = [x.double().requires_grad_() for x in inputs()]
    weights = torch.randn(2, HEADS, 35, 3, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((weights * token_probabilities(*leaves, HEADS, TOKENS)).sum(), leaves)
    expected = torch.autograd.grad((weights * plain(*leaves)).sum(), leaves)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_large_scores_do_not_overflow() -> None:
    query, key = (10 * x for x in inputs())
    found = token_probabilities(query, key, HEADS, range(13))
    torch.testing.assert_close(found.sum(-1), torch.ones(2, HEADS, 35), rtol=0, atol=2e-3)
