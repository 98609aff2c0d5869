"""Weights a MODEL computes with, patches included, to compare with another's."""

from __future__ import annotations

from typing import Any

import torch
from comfyui_probe import Evaluation, evaluate
from host_cases import noise
from tiny_comfyui import CPU
from torch import Tensor


def weights_of(patcher: Any) -> dict[str, Tensor]:
    """The UNet's weights with their patches."""
    state = patcher.model_state_dict("diffusion_model.")
    return {key: patcher.patch_weight_to_device(key, device_to=CPU, return_weight=True) for key in state}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same names, and the same bits."""
    assert found.keys() == expected.keys()
    differing = [key for key in found if not torch.equal(found[key], expected[key])]
    assert not differing


def predict(model: Any, prompts: Any) -> Evaluation:
    """The noise a MODEL predicts at one timestep."""
    return evaluate(model, *prompts, noise(1, 16, 16), 500)
