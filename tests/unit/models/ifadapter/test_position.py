"""Boxes as instance tokens have them, in every precision of an adapter."""

from __future__ import annotations

import copy

import pytest
import torch

from instance_composer.models.ifadapter.position import fourier_features


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_instance_tokens_are_of_the_adapters_precision(adapter, dtype) -> None:
    width = adapter.config.phrase_width
    generator = torch.Generator().manual_seed(0)
    states = 0.1 * torch.randn(2, 3, 7, width, generator=generator)
    ends = 0.1 * torch.randn(2, width, generator=generator)
    mask = torch.ones(2, 7, dtype=torch.long)
    # Numbers of few bits, so that they are the same boxes in every precision.
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 1.0, 0.75]])
    expected = adapter.instance_tokens(states, mask, ends, boxes)
    lower = copy.deepcopy(adapter).to(dtype)
    found = lower.instance_tokens(states.to(dtype), mask, ends.to(dtype), boxes.to(dtype))
    assert found.dtype == dtype
    # A few dozen layers, each of which rounds numbers of order one.
    assert (found.float() - expected).abs().max() <= 16 * torch.finfo(dtype).eps * expected.abs().max()
    assert lower.unconditional_tokens(boxes.to(dtype)).dtype == dtype
    assert fourier_features(boxes.to(dtype), 4).dtype == torch.float32
