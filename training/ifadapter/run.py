"""One run of IFAdapter training, from files to a trained adapter."""

from __future__ import annotations

from dataclasses import dataclass
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

_EXAMPLES_SEED = 2**31


@dataclass(frozen=True)
class AdapterRun:
    """What an adapter is trained on: `size` (width, height) in pixels; `data` None is Shapes World.

    `checked` is how many of Shapes World's pictures with checked things alone come besides the `pictures`.
    `init` names an adapter to start from, else a fresh one is made, of the demo's size if `small`.
    """

    model: Path
    data: Path | None = None
    size: tuple[int, int] = (1024, 1024)
    pictures: int = 10_000
    checked: int = 0
    init: Path | None = None
    small: bool = False
    region_weight: float = 0.0
    snr_power: float = 0.0
    gradient_checkpointing: bool = False


def train_adapter(run: AdapterRun, settings: Settings, folder: Path) -> None:
    """Train, or continue training, an adapter in `folder`."""
    for name, value in (
        ("region weight", run.region_weight),
        ("SNR power", run.snr_power),
        ("number of checked pictures", run.checked),
    ):
        if value < 0:
            raise SourceError(f"the {name} is {value:g}; 0 or more is allowed")
    if run.checked and run.data is not None:
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
        if run.checked:
            chosen.append(Pictures(width, height, run.checked, pattern="checked"))
        return [encoded_world(pipeline.vae, one, folder) for one in chosen]
    place = folder / f"latents-{width}x{height}"
    source = LayoutFolder(run.data, width, height)
    description: dict[str, Any] = {
        "files": source.names,
        "width": width,
        "height": height,
    }
    return [encode_once(source, len(source), pipeline.vae, place, description)]


def _examples(run: AdapterRun) -> list[Layout]:
    """Layouts to draw while training: of the demo world unseen combinations, else the data's first."""
    if run.data is not None:
        return []
    world = ShapesWorld(_EXAMPLES_SEED, *run.size, "held-out")
    return [world[number].layout for number in range(8)]
