"""Fingerprints of weights: the same for the same weights on any machine, another for any other weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from instance_composer.training.engine.fingerprint import comparable, of_frozen, of_start


def frozen(weight: torch.Tensor) -> nn.Module:
    module = nn.ModuleDict({"unet": nn.Linear(1, 1, bias=False)})
    module["unet"].weight = nn.Parameter(weight, requires_grad=False)
    return module


def test_the_number_of_threads_changes_nothing():
    # Large enough that torch shares a sum among threads, and mixed enough that its order shows in floats.
    weight = (
        torch.randn(3, 400_001, generator=torch.Generator().manual_seed(1))
        * torch.logspace(-6, 6, 3)[:, None]
    )
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(of_frozen(frozen(weight)))
    finally:
        torch.set_num_threads(1)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_one_bit_of_one_weight_changes_it(dtype):
    # Of 9,001 weights every second is looked at alone; of the others the sum tells.
    weight = torch.randn(9001, 1, generator=torch.Generator().manual_seed(2)).to(dtype)
    before = of_frozen(frozen(weight.clone()))
    assert of_frozen(frozen(weight.clone())) == before
    other = weight.clone()
    other[4243] = torch.nextafter(other[4243], torch.full_like(other[4243], 9))
    assert of_frozen(frozen(other)) != before
    assert of_frozen(frozen(weight.t().contiguous())) != before


def test_those_of_earlier_versions_are_not_compared():
    now = of_start(nn.ModuleDict({"unet": nn.Linear(2, 2)}))
    assert comparable({"unet": "c8f7fca3fb9cd9c7", "torch": now["torch"]}, now) == ({}, {})
    assert comparable(now, now) == (now, now)
