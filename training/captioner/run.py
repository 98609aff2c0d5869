"""Run of a captioner's training, from Shapes World to a transformers folder."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ...hosts.diffusers_sdxl import load_sdxl
from ...models.rewards import RewardModel
from ...shapes_world import ShapesWorld
from ...shapes_world.scenes import SMALLEST_SIDE
from ..data.errors import SourceError
from ..engine.loop import train
from ..engine.settings import WEIGHTS_SEED, Settings
from .model import HEADS, begin_with, small_captioner
from .objective import CaptionerTask
from .options import CaptionerRun
from .pictures import (
    DECODED_SEED,
    DRAWN_SEED,
    HELD_OUT_SEED,
    TRAINING_SEED,
    Painted,
    Source,
    decoded_pictures,
    drawn_pictures,
)

# Painted pictures before the first comes again, and pictures to measure on.
_PAINTED, _HELD_OUT = 1_000_000, 300
# So many pictures are drawn to learn from for each one to measure on.
_DRAWN_PER_HELD_OUT = 5

logger = logging.getLogger("instance_composer")


def train_captioner(run: CaptionerRun, settings: Settings, folder: Path, *, dry_run: bool = False) -> None:
    """Train, or continue training, a captioner in `folder`.

    A dry run only says what that would take, and makes no pictures of a model.
    """
    _check(run)
    torch.manual_seed(WEIGHTS_SEED)
    model, processor = small_captioner(run.side, run.patch, run.width, run.layers)
    if run.reward is not None:
        begin_with(model, RewardModel.load(run.reward))
    painted = Painted(ShapesWorld(TRAINING_SEED, run.size, run.size), _PAINTED)
    held_out: dict[str, Source] = {
        f"{split} looks": Painted(ShapesWorld(HELD_OUT_SEED, run.size, run.size, split), _HELD_OUT)
        for split in ("held-out", "train")
    }
    turns: list[Source] = [painted]
    if run.model is not None and dry_run:
        logger.info(
            "%s decodes %d pictures and draws %d first, or did before, to learn from beside painted ones",
            run.model,
            run.decoded,
            run.drawn,
        )
    elif run.model is not None:
        made, measured = _of_model(run, run.model, folder / "pictures")
        # In turns, so that half of a batch is painted, or two thirds where there is one other kind.
        turns = [one for source in made for one in (painted, source)] or turns
        held_out |= measured
    train(CaptionerTask(model, processor, turns, held_out), settings, folder, run, dry_run=dry_run)


def _of_model(run: CaptionerRun, path: Path, folder: Path) -> tuple[list[Source], dict[str, Source]]:
    """Pictures of a model to learn from, and those that are measured, by name."""
    pipeline = load_sdxl(path)
    made: list[Source] = []
    measured: dict[str, Source] = {}
    if run.decoded:
        world = ShapesWorld(DECODED_SEED, run.size, run.size)
        made.append(decoded_pictures(pipeline, world, run.decoded, folder / "decoded"))
    if run.drawn:
        world = ShapesWorld(DRAWN_SEED, run.size, run.size)
        made.append(drawn_pictures(pipeline, world, run.drawn, folder / "drawn"))
        world = ShapesWorld(HELD_OUT_SEED, run.size, run.size, "held-out")
        count = -(-run.drawn // _DRAWN_PER_HELD_OUT)
        measured["drawn"] = drawn_pictures(pipeline, world, count, folder / "drawn-held-out")
        _tell(len(made[-1]), run.drawn, path)
    return made, measured


def _tell(readable: int, drawn: int, model: Path) -> None:
    """Say how many pictures are used; `SourceError` if none can be."""
    if not readable:
        raise SourceError(
            f"of {drawn} pictures that {model} drew, the judge of Shapes World can read none; give a model "
            "of Shapes World, such as demo, or --drawn 0"
        )
    logger.info("%d of %d drawn pictures have things in them that the judge can name", readable, drawn)


def _check(run: CaptionerRun) -> None:
    """`SourceError` for sizes that do not fit each other."""
    if run.patch < 1 or run.side < run.patch or run.side % run.patch:
        raise SourceError(
            f"the side is {run.side} pixels, a patch {run.patch}; the side must be a multiple of the patch"
        )
    grid = run.side // run.patch
    if run.size < SMALLEST_SIDE or run.size % grid:
        raise SourceError(
            f"pictures of {run.size} pixels in {grid} x {grid} patches; the size must be at least "
            f"{SMALLEST_SIDE} and a multiple of {grid}"
        )
    if run.width < HEADS or run.width % HEADS:
        raise SourceError(f"the width is {run.width}; it must be a multiple of {HEADS}")
    for name in ("layers", "decoded", "drawn"):
        least = 1 if name == "layers" else 0
        if getattr(run, name) < least:
            raise SourceError(f"{name} is {getattr(run, name)}; it must be at least {least}")
