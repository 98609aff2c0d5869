"""Tiny networks, in a models folder of their own, and a picture."""

from __future__ import annotations

from importlib import import_module

import folder_paths
import pytest
import torch
from tiny_grounding_dino import (
    original_names,
    published,
    tiny_grounding_dino,
    write_vocabulary,
)

from instance_composer.hosts.comfyui.segmentation.files import (
    DETECTORS,
    SEGMENTERS,
    register_folders,
)
from instance_composer.models.vision.grounding_dino import pixels
from instance_composer.models.vision.sam import HOW_TO_INSTALL

SAM = {
    "encoder_embed_dim": 32,
    "encoder_depth": 2,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [1],
}


def build_tiny_sam():
    # The package has a function of the module's name in the module's place.
    building = import_module("segment_anything.build_sam")
    return building._build_sam(**SAM)


@pytest.fixture(scope="module")
def tiny_sam():
    """Builds the network of the SAM in `files`, with other weights."""
    return build_tiny_sam


@pytest.fixture(scope="module")
def network():
    return tiny_grounding_dino()


@pytest.fixture(scope="module")
def files(tmp_path_factory, network):
    """A models folder: the same network as an original file and as a folder, and a SAM."""
    pytest.importorskip("segment_anything", reason=HOW_TO_INSTALL)
    base = tmp_path_factory.mktemp("models")
    for name in (DETECTORS, SEGMENTERS):
        (base / name).mkdir()
        register_folders()
        folder_paths.add_model_folder_path(name, str(base / name))
    state = original_names(published(network.state_dict()))
    saved = {"model": {f"module.{name}": tensor.clone() for name, tensor in state.items()}}
    saved["model"]["module.bert.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save(saved, base / DETECTORS / "tiny.pth")
    write_vocabulary(base / DETECTORS)
    network.save_pretrained(base / DETECTORS / "tiny-folder")
    write_vocabulary(base / DETECTORS / "tiny-folder")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        torch.save(build_tiny_sam().state_dict(), base / SEGMENTERS / "sam_tiny.pth")
    return base


@pytest.fixture(scope="module")
def picture():
    return torch.rand(96, 128, 3, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def small_pictures(monkeypatch):
    """Pictures smaller than the published models take: what is compared does not depend on the size."""
    monkeypatch.setattr(pixels, "SHORTER_SIDE", 256)
