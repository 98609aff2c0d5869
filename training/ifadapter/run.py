"""Run of IFAdapter training, from files to a trained adapter."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline

from ...hosts.diffusers_sdxl import load_sdxl
from ...layout import Layout
from ...models.ifadapter import IFAdapter
from ...shapes_world import ShapesWorld
from ..data.errors import SourceError
from ..data.folder import LayoutFolder
from ..data.folder_latents import encode_folder
from ..data.latents import LatentSet
from ..data.world import Pictures, encoded_world
from ..engine.loop import train
from ..engine.settings import WEIGHTS_SEED, Settings
from .initial_weights import make_adapter
from .objective import IFAdapterTask
from .options import AdapterRun

_EXAMPLES_SEED = 2**31


def train_adapter(run: AdapterRun, settings: Settings, folder: Path, *, dry_run: bool = False) -> None:
    """Train, or continue training, an adapter in `folder`; a dry run only says what that would take."""
    for name, value in (
        ("region weight", run.region_weight),
        ("SNR power", run.snr_power),
        ("number of checked pictures", run.checked_pattern_pictures),
        ("number of held-out pictures", run.held_out),
    ):
        if value < 0:
            raise SourceError(f"the {name} is {value:g}; 0 or more is allowed")
    if run.checked_pattern_pictures and run.data is not None:
        raise SourceError("checked pictures are Shapes World's; leave them out, or train without data")
    pipeline = load_sdxl(run.model)
    sets = _latents(run, pipeline, folder, dry_run)
    torch.manual_seed(WEIGHTS_SEED)
    adapter = make_adapter(pipeline.unet, small=run.small) if run.init is None else IFAdapter.load(run.init)
    if run.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    task = IFAdapterTask(
        pipeline, adapter, sets, run.region_weight, run.snr_power, _examples(run), run.held_out
    )
    train(task, settings, folder, dry_run=dry_run)


def _latents(
    run: AdapterRun, pipeline: StableDiffusionXLPipeline, folder: Path, blank: bool
) -> list[LatentSet]:
    width, height = run.size
    if run.data is None:
        chosen = [Pictures(width, height, run.pictures)]
        if run.checked_pattern_pictures:
            chosen.append(Pictures(width, height, run.checked_pattern_pictures, pattern="checked"))
        return [encoded_world(pipeline.vae, one, folder, blank=blank) for one in chosen]
    source = LayoutFolder(run.data, width, height)
    latents = run.latents or folder / "latents"
    return [encode_folder(source, pipeline.vae, latents, run.leave_out, blank=blank)]


def _examples(run: AdapterRun) -> list[Layout]:
    """Layouts to draw while training: of the demo world unseen combinations, else the data's first."""
    if run.data is not None:
        return []
    world = ShapesWorld(_EXAMPLES_SEED, *run.size, "held-out")
    return [world[number].layout for number in range(8)]
