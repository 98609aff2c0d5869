"""How the demo world's models are trained: stages, their settings, and where each finds what it builds on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline

from ...hosts.diffusers_sdxl import load_sdxl
from ..data.errors import SourceError
from ..data.world import Pictures, encoded_world
from ..engine.checkpoint import read_run
from ..engine.loop import Trainer
from ..engine.settings import WEIGHTS_SEED, Settings, SettingsError, read_settings
from ..engine.task import Task
from .architecture import NARROW_WIDTHS, make_autoencoder
from .autoencoder import AutoencoderTask
from .pipeline import make_pipeline
from .text_to_image import BaseTask
from .widening import widen_unet


@dataclass(frozen=True)
class Stage:
    """One run of the recipe.

    `before` is the stage whose model it starts from. `crop` is the side of the pictures an autoencoder sees;
    everything else is trained on encoded `pictures`.
    `widened`: the first level of the UNet before is made twice as wide.
    """

    name: str
    settings: Settings
    before: str | None = None
    crop: int = 0
    pictures: tuple[Pictures, ...] = ()
    widened: bool = False


_AUTOENCODER = Settings(
    steps=6000,
    batch=6,
    learning_rate=8e-4,
    warm_up=30,
    cool_down=1000,
    beta2=0.99,
    ema_decay=0.99,
    every_log=25,
    every_checkpoint=100,
    every_sample=300,
)
_BASE = Settings(
    steps=5000,
    batch=16,
    learning_rate=9e-4,
    warm_up=200,
    every_log=20,
    every_checkpoint=100,
    every_sample=500,
)
_MIXED = (
    Pictures(64, 64, 8192, figures=1),
    Pictures(128, 128, 6144),
    Pictures(160, 96, 1024),
    Pictures(96, 160, 1024),
)
_STAGES = (
    # Small crops first: colours and edges need many steps more than they need whole pictures.
    Stage("crops", _AUTOENCODER, crop=32),
    # Several figures at once: group norms see them together, and the colours of one leak into the others.
    Stage("autoencoder", replace(_AUTOENCODER, batch=1, learning_rate=4e-4), "crops", crop=96),
    Stage("base-scenes", _BASE, "autoencoder", pictures=(Pictures(128, 128, 6144),)),
    # One thing alone tells what its words mean, and on a quarter of the cells costs less than half as much.
    Stage(
        "base-mixed",
        replace(_BASE, steps=3100, batch=32, learning_rate=1e-3, cool_down=1300),
        "base-scenes",
        pictures=_MIXED,
    ),
    # The same with the final widths and a fresh optimizer.
    Stage(
        "base-final",
        replace(_BASE, steps=4200, learning_rate=1e-3, warm_up=300, cool_down=2400),
        "base-mixed",
        pictures=_MIXED,
        widened=True,
    ),
    # Fields of a check are smaller than a cell of the latent, and came out as waves when all else was right.
    Stage(
        "base-checked",
        replace(_BASE, steps=2100, learning_rate=7e-4, warm_up=100, cool_down=1900),
        "base-final",
        pictures=(
            *_MIXED,
            Pictures(64, 64, 4096, figures=1, pattern="checked"),
            Pictures(128, 128, 2048, pattern="checked"),
        ),
    ),
    # Whole pictures for the decoder alone: latents stay true, so this can run any time after `autoencoder`.
    Stage(
        "decoder",
        replace(_AUTOENCODER, steps=1500, batch=2, learning_rate=4e-4, cool_down=500),
        "autoencoder",
        crop=128,
    ),
)
STAGES = {stage.name: stage for stage in _STAGES}


def choose_stage(name: str, changes: Mapping[str, Any], pictures: int | None = None) -> Stage:
    """A stage with some settings replaced, and another number of pictures of its first size.

    `SettingsError` for a stage or a setting there is not.
    """
    if name not in STAGES:
        raise SettingsError(f"there is no stage {name!r}; choose {', '.join(STAGES)}")
    stage = STAGES[name]
    encoded = stage.pictures
    if pictures is not None and encoded:
        share = pictures / encoded[0].number
        encoded = tuple(one._replace(number=max(1, round(one.number * share))) for one in encoded)
    return replace(stage, settings=read_settings(changes, stage.settings), pictures=encoded)


def train_stage(stage: Stage, folder: Path) -> None:
    """Run or continue one stage; everything of the recipe lives below `folder`, one folder a stage."""
    torch.manual_seed(WEIGHTS_SEED)
    trainer = Trainer(_task(stage, folder), stage.settings, folder / stage.name)
    trainer.run()


def _task(stage: Stage, folder: Path) -> Task[Any]:
    if stage.before in (None, "crops"):
        task = AutoencoderTask(crop=stage.crop, autoencoder=make_autoencoder())
        if stage.before:
            _start_from_average(task, folder / stage.before)
        return task
    model = folder / stage.before / "model"
    if stage.crop:
        return AutoencoderTask(crop=stage.crop, autoencoder=load_autoencoder(model), decoder_only=True)
    pipeline = (
        make_pipeline(load_autoencoder(model), NARROW_WIDTHS)
        if stage.before == "autoencoder"
        else _load_pipeline(model)
    )
    if stage.widened:
        pipeline.unet = widen_unet(pipeline.unet)
    return BaseTask(pipeline, [encoded_world(pipeline.vae, one, folder) for one in stage.pictures])


def _start_from_average(task: Task[Any], before: Path) -> None:
    """Give a task the averaged weights of an earlier run of the same model."""
    state = read_run(before)
    if state is None:
        raise SourceError(f"there is no run in {before}; train the stage {before.name} first")
    weights = state["average"]["shadow_params"]
    for parameter, value in zip(task.objective.parameters(), weights, strict=True):
        parameter.data.copy_(value)


def load_autoencoder(model: Path) -> AutoencoderKL:
    """The autoencoder a stage has exported; `SourceError` tells which stage has to be run first."""
    if not (model / "vae" / "config.json").is_file():
        raise SourceError(f"there is no autoencoder in {model}; train the stage {model.parent.name} first")
    loaded: Any = AutoencoderKL.from_pretrained(model / "vae")
    return loaded.requires_grad_(False)


def _load_pipeline(model: Path) -> StableDiffusionXLPipeline:
    if not (model / "model_index.json").is_file():
        raise SourceError(f"there is no model in {model}; train the stage {model.parent.name} first")
    return load_sdxl(model)
