"""Pictures that several models of transformers look at."""

from __future__ import annotations

import pytest
import torch
from PIL import Image


def pytest_itemcollected(item):
    """All of this folder depends on transformers, and is run with both supported lines of it."""
    item.add_marker("text_encoders")


@pytest.fixture(scope="module")
def pictures():
    """Three, of two shapes."""
    noise = torch.Generator().manual_seed(0)
    sizes = ((64, 96), (80, 64), (64, 96))
    return [
        Image.fromarray(torch.randint(0, 256, (*size, 3), generator=noise, dtype=torch.uint8).numpy())
        for size in sizes
    ]
