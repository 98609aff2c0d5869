"""Recipe of the demo model: its stages, their settings, and where each finds what it builds on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, StableDiffusionXLPipeline

from ...hosts.diffusers_sdxl import load_sdxl
from ...shapes_world import RELATIONS
from ..data.errors import SourceError
from ..data.world import Pictures, encoded_world
from ..engine.checkpoint import read_run
from ..engine.settings import Settings, SettingsError
from ..engine.task import Task
from .architecture import NARROW_WIDTHS, make_autoencoder
from .autoencoder import AutoencoderTask
from .captioned import Sets
from .flow_matching import FlowTask
from .new_words import add_words
from .pipeline import make_pipeline
from .sides import MIDDLE
from .stage import Stage
from .text_to_image import TextToImageTask
from .transformer import fitting_transformer
from .widening import widen_unet


@dataclass(frozen=True)
class AutoencoderStage(Stage):
    """An autoencoder on pictures of `crop` pixels.

    It starts fresh or from the averaged weights of the stage before; or, with `decoder_only`, from the model
    which that has exported, and keeps its encoder.
    """

    crop: int = 0
    decoder_only: bool = False

    def task(self, folder: Path) -> AutoencoderTask:
        before = None if self.before is None else self.model_before(folder).parent
        if before is not None and self.decoder_only:
            return AutoencoderTask(
                crop=self.crop, autoencoder=load_autoencoder(before / "model"), decoder_only=True
            )
        task = AutoencoderTask(crop=self.crop, autoencoder=make_autoencoder())
        if before is not None:
            _start_from_average(task, before)
        return task


@dataclass(frozen=True)
class PicturesStage(Stage):
    """A model of text to image on encoded `pictures`."""

    pictures: tuple[Pictures, ...] = ()

    def sets(self, autoencoder: AutoencoderKL, folder: Path) -> Callable[[bool], Sets]:
        """What is trained on and what is held out, of stand-ins where it is called with True."""
        # What else there is of a size, and a few: measuring is not to take a notable share of the time.
        fewer = [one._replace(number=min(_HELD_OUT, one.number)) for one in self.pictures]

        def made(blank: bool) -> Sets:
            return (
                [encoded_world(autoencoder, one, folder, blank=blank) for one in self.pictures],
                [encoded_world(autoencoder, one, folder, blank=blank, held_out=True) for one in fewer],
            )

        return made


@dataclass(frozen=True)
class TextToImageStage(PicturesStage):
    """Text encoders and UNet: fresh ones after an autoencoder, else the earlier ones.

    `widened`: the first level of the UNet before is made twice as wide. Words that captions of these pictures
    are the first to have get a fresh embedding. `sides`: captions of one thing say its side of the middle;
    `contrast`: the weight of telling relations from their opposites; `timestep_power`: below 1 more is learnt
    where nearly all is noise.
    """

    widened: bool = False
    sides: bool = False
    contrast: float = 0.0
    timestep_power: float = 1.0

    def task(self, folder: Path) -> TextToImageTask:
        model = self.model_before(folder)
        pipeline = (
            make_pipeline(load_autoencoder(model), NARROW_WIDTHS)
            if self.before == "autoencoder"
            else _load_pipeline(model)
        )
        if self.widened:
            pipeline.unet = widen_unet(pipeline.unet)
        related = max((one.related for one in self.pictures), default=0.0)
        if related:
            add_words(pipeline, (*RELATIONS, MIDDLE) if self.sides else RELATIONS)
        sets = self.sets(pipeline.vae, folder)
        return TextToImageTask(
            pipeline,
            *sets(True),
            related,
            partial(sets, False),
            self.sides,
            self.contrast,
            self.timestep_power,
        )


@dataclass(frozen=True)
class TransformerStage(PicturesStage):
    """A fresh transformer beside the UNet of the stage before, with its text encoders and autoencoder."""

    def task(self, folder: Path) -> FlowTask:
        pipeline = _load_pipeline(self.model_before(folder))
        sets = self.sets(pipeline.vae, folder)
        return FlowTask(fitting_transformer(pipeline), pipeline, *sets(True), partial(sets, False))


# Pictures of each size to measure the loss on.
_HELD_OUT = 32
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
# What comes out right least often is shown most: checks make 45 % of these things, stars 25 %.
_DIFFICULT = (("checked", 2.5), ("star", 2.0))
_DIFFICULTIES = tuple(one._replace(weights=_DIFFICULT) for one in _MIXED)
# Whole pictures alone: beside as many of one thing at 64 pixels, things came out twice.
_RELATED = tuple(one._replace(related=0.6) for one in _DIFFICULTIES if one.figures != 1)
_STAGES: tuple[AutoencoderStage | PicturesStage, ...] = (
    # Small crops first: colours and edges need many steps more than they need whole pictures.
    AutoencoderStage("crops", _AUTOENCODER, crop=32),
    # Several figures at once: group norms see them together, and the colours of one leak into the others.
    AutoencoderStage("autoencoder", replace(_AUTOENCODER, batch=1, learning_rate=4e-4), "crops", crop=96),
    TextToImageStage("base-scenes", _BASE, "autoencoder", pictures=(Pictures(128, 128, 6144),)),
    # One thing alone tells what its words mean, and on a quarter of the cells costs less than half as much.
    TextToImageStage(
        "base-mixed",
        replace(_BASE, steps=3100, batch=32, learning_rate=1e-3, cool_down=1300),
        "base-scenes",
        pictures=_MIXED,
    ),
    # The same with the final widths and a fresh optimizer.
    TextToImageStage(
        "base-final",
        replace(_BASE, steps=4200, learning_rate=1e-3, warm_up=300, cool_down=2400),
        "base-mixed",
        pictures=_MIXED,
        widened=True,
    ),
    # Fields of a check are smaller than a cell of the latent, and came out as waves when all else was right.
    TextToImageStage(
        "base-checked",
        replace(_BASE, steps=2100, learning_rate=7e-4, warm_up=100, cool_down=1900),
        "base-final",
        pictures=(
            *_MIXED,
            Pictures(64, 64, 4096, figures=1, pattern="checked"),
            Pictures(128, 128, 2048, pattern="checked"),
        ),
    ),
    # The words of relations, which no earlier caption has, on pictures of what they are between and no more:
    # one thing and the middle, or two. Rates are lower from here on, for what is known must stay.
    TextToImageStage(
        "base-pairs",
        replace(_BASE, steps=3000, learning_rate=5e-4, warm_up=100, cool_down=1000),
        "base-checked",
        pictures=(
            Pictures(64, 64, 8192, figures=1, weights=_DIFFICULT),
            Pictures(64, 64, 8192, figures=2, related=1.0, weights=_DIFFICULT),
        ),
        sides=True,
        # At a tenth of it nothing began in 1,600 steps. The plain error rises with it, and falls again below.
        contrast=0.2,
    ),
    TextToImageStage(
        "base-relations",
        replace(_BASE, steps=6000, learning_rate=5e-4, warm_up=100, cool_down=4500),
        "base-pairs",
        pictures=_RELATED,
        contrast=0.05,
    ),
    # How many things there are is settled where nearly all is noise, and was what was still wrong.
    TextToImageStage(
        "base-numbers",
        replace(_BASE, steps=1300, learning_rate=5e-4, warm_up=50, cool_down=1000),
        "base-relations",
        pictures=_RELATED,
        contrast=0.02,
        timestep_power=0.5,
    ),
    # Another model on the same latents and texts, which lets every picture cell and word see each other.
    TransformerStage(
        "transformer",
        Settings(
            steps=12800,
            batch=32,
            learning_rate=1e-3,
            warm_up=300,
            cool_down=3000,
            ema_decay=0.9995,
            every_log=50,
            every_checkpoint=200,
            every_sample=1000,
            every_validation=1000,
        ),
        "base-numbers",
        pictures=_DIFFICULTIES,
    ),
    # Whole pictures for the decoder alone: latents stay true, so this can run any time after `autoencoder`.
    AutoencoderStage(
        "decoder",
        replace(_AUTOENCODER, steps=1500, batch=2, learning_rate=4e-4, cool_down=500),
        "autoencoder",
        crop=128,
        decoder_only=True,
    ),
)
STAGES = {stage.name: stage for stage in _STAGES}


def choose_stage(
    name: str, changes: Mapping[str, Any], pictures: int | None = None, start: Path | None = None
) -> AutoencoderStage | PicturesStage:
    """A stage with some settings replaced, and another number of pictures of its first size.

    `start` is a diffusers folder it starts from in place of what the stage before has made. `SettingsError`
    for a stage, a setting or a number there is not, and for a stage that cannot start there.
    """
    if pictures is not None and pictures < 1:
        raise SettingsError(f"--pictures is {pictures}; it must be 1 or more")
    if name not in STAGES:
        raise SettingsError(f"there is no stage {name!r}; choose {', '.join(STAGES)}")
    stage = STAGES[name].changed(changes)
    if start is not None:
        if not isinstance(stage, PicturesStage):
            raise SettingsError(
                f"the stage {name} starts from no model of text to image; choose a base stage or transformer"
            )
        stage = stage.starting_from(start)
    if pictures is None or not isinstance(stage, PicturesStage):
        return stage
    share = pictures / stage.pictures[0].number
    encoded = tuple(one._replace(number=max(1, round(one.number * share))) for one in stage.pictures)
    return replace(stage, pictures=encoded)


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
