"""The bar of encoding ends where this process's share does: files are encoded whole."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.data import latents
from instance_composer.training.demo_model.architecture import make_autoencoder


@pytest.mark.parametrize(("process", "share"), [(0, 4), (1, 2)])
def test_the_bar_counts_the_pictures_of_this_process(process, share, tmp_path, monkeypatch):
    """Six pictures in files of four: the first process has one whole file, the second the rest."""
    monkeypatch.setattr(latents, "SHARD", 4)
    state = SimpleNamespace(device="cpu", is_main_process=True, process_index=process, num_processes=2)
    monkeypatch.setattr(latents, "this_process", lambda: state)
    monkeypatch.setattr(latents.LatentSet, "load", lambda folder: folder)
    totals = []

    class Bar:
        def __init__(self, name, unit, total, shown):
            totals.append(total)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, count):
            totals.append(count)

    monkeypatch.setattr(latents, "progress_bar", Bar)
    torch.manual_seed(0)
    world, autoencoder = ShapesWorld(1, 64, 64), make_autoencoder()
    # The other's file is there already, or both would wait for each other.
    (tmp_path / f"latents-{1 - process:05d}.safetensors").write_bytes(b"")
    latents.encode_once(world, 6, autoencoder, tmp_path, {})
    assert totals == [share, share]
