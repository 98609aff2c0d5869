"""Run of IFAdapter training, from files to a trained adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from ...hosts.diffusers_sdxl import load_sdxl
from ...layout import Layout
from ...models.ifadapter import IFAdapter
from ...shapes_world import ShapesWorld
from ..data.errors import SourceError
from ..data.folder import LayoutFolder
from ..data.latents import LatentSet, encode_once
from ..data.world import Pictures, encoded_world
from ..engine.loop import Trainer
from ..engine.settings import WEIGHTS_SEED, Settings
from .initial_weights import make_adapter
from .objective import IFAdapterTask
from .options import AdapterRun

_EXAMPLES_SEED = 2**31


def train_adapter(run: AdapterRun, settings: Settings, folder: Path) -> None:
    """Train, or continue training, an adapter in `folder`."""
    for name, value in (
        ("region weight", run.region_weight),
        ("SNR power", run.snr_power),
        ("number of checked pictures", run.checked_pattern_pictures),
    ):
        if value < 0:
            raise SourceError(f"the {name} is {value:g}; 0 or more is allowed")
    if run.checked_pattern_pictures and run.data is not None:
        raise SourceError("checked pictures are Shapes World's; leave them out, or train without data")
    pipeline = load_sdxl(run.model)
    sets = _latents(run, pipeline, folder)
    torch.manual_seed(WEIGHTS_SEED)
    adapter = make_adapter(pipeline.unet, small=run.small) if run.init is None else IFAdapter.load(run.init)
    if run.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    task = IFAdapterTask(pipeline, adapter, sets, run.region_weight, run.snr_power, _examples(run))
    Trainer(task, settings, folder).run()


def _latents(run: AdapterRun, pipeline: StableDiffusionXLPipeline, folder: Path) -> list[LatentSet]:
    width, height = run.size
    if run.data is None:
        chosen = [Pictures(width, height, run.pictures)]
        if run.checked_pattern_pictures:
            chosen.append(Pictures(width, height, run.checked_pattern_pictures, pattern="checked"))
        return [encoded_world(pipeline.vae, one, folder) for one in chosen]
    encoded = folder / f"latents-{width}x{height}"
    source = LayoutFolder(run.data, width, height)
    description: dict[str, Any] = {
        "files": source.names,
        "width": width,
        "height": height,
    }
    return [encode_once(source, len(source), pipeline.vae, encoded, description)]


def _examples(run: AdapterRun) -> list[Layout]:
    """Layouts to draw while training: of the demo world unseen combinations, else the data's first."""
    if run.data is not None:
        return []
    world = ShapesWorld(_EXAMPLES_SEED, *run.size, "held-out")
    return [world[number].layout for number in range(8)]
