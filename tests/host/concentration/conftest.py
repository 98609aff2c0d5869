"""What tests of latent guidance have in common."""

from __future__ import annotations

import pytest
import torch
from tiny_comfyui import tiny_model
from tiny_sdxl import UNET


@pytest.fixture(scope="module")
def loaded(unet_weights):
    """A MODEL as a loader node makes it: its weights are tensors of inference mode."""
    with torch.inference_mode():
        made = tiny_model(UNET, unet_weights)
    assert all(p.is_inference() for p in made.model.diffusion_model.parameters())
    return made
