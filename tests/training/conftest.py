"""A demo world small enough to train in a test: real classes, a few thousand weights, 64 pixel pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from latent_sets import latent_set
from tiny_sdxl import SHALLOW_UNET, write_tiny_sdxl

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.data.latents import LatentSet


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A diffusers folder of SDXL's shape, with fewer layers."""
    return write_tiny_sdxl(tmp_path_factory.mktemp("model") / "sdxl", unet=SHALLOW_UNET)


@pytest.fixture
def pipeline(tiny_model):
    return load_sdxl(tiny_model)


@pytest.fixture(scope="session")
def latents() -> LatentSet:
    """Latents that depend on what is in the picture: the pictures themselves, shrunk."""
    # Two figures at most: the tiny tokenizer reads single letters.
    world = ShapesWorld(seed=1, width=64, height=64, figures=2)
    samples = [world[number] for number in range(8)]
    pictures = torch.stack([torch.from_numpy(s.image).permute(2, 0, 1).float() / 127.5 - 1 for s in samples])
    small = torch.nn.functional.avg_pool2d(pictures, 8)
    return latent_set(torch.cat((small, small[:, :1]), dim=1), [s.layout.to_dict() for s in samples])
