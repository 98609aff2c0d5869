"""The demo model's architecture with fresh weights, packed as it is shipped."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from instance_composer.training.demo_model.architecture import make_autoencoder
from instance_composer.training.demo_model.packing import pack
from instance_composer.training.demo_model.pipeline import make_pipeline
from instance_composer.training.ifadapter.initial_weights import make_adapter


def pack_fresh_demo(folder: Path, seed: int = 0) -> Path:
    """Write the model into `folder`/demo and return that; the adapter's gates are open, so that it acts."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = make_pipeline(make_autoencoder())
        adapter = make_adapter(pipeline.unet, small=True)
        for name, parameter in adapter.named_parameters():
            if name.endswith(".alpha"):
                nn.init.constant_(parameter, 1.0)
            elif name.endswith("to_v_ap.weight"):
                parameter.data.mul_(10)
    pipeline.save_pretrained(folder / "model")
    adapter.save(folder / "adapter.safetensors")
    pack(folder / "model", folder / "adapter.safetensors", folder / "demo")
    return folder / "demo"
