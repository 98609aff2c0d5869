"""Run of a captioner's training, from Shapes World to a transformers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from .pictures import HELD_OUT_SEED, TRAINING_SEED, OfModel, Painted, Source

# Painted pictures before the first comes again, and pictures to measure on.
_PAINTED, _HELD_OUT = 1_000_000, 300
# So many pictures are drawn to learn from for each one to measure on.
_DRAWN_PER_HELD_OUT = 5


def train_captioner(run: CaptionerRun, settings: Settings, folder: Path, *, dry_run: bool = False) -> None:
    """Train, or continue training, a captioner in `folder`.

    A dry run only says what that would take, and makes no pictures of a model: painted ones stand in for
    those that are not there.
    """
    check_sizes(run)
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
    made = None
    # What checkpoints of earlier versions do not know.
    rests_on: dict[str, Any] = {"size": run.size, "model": "", "decoded": 0, "drawn": 0}
    if run.model is not None:
        count = -(-run.drawn // _DRAWN_PER_HELD_OUT)
        place, counts = folder / "pictures", (run.decoded, run.drawn, count)
        # Let go of as soon as its pictures are there.
        made = OfModel(load_sdxl(run.model), run.model, place, run.size, *counts)
        rests_on |= {"model": made.digest, "decoded": run.decoded, "drawn": run.drawn}
        # In turns, so that half of a batch is painted.
        turns = [one for source in made.to_learn_from for one in (painted, source)] or turns
        if made.drawn_held_out is not None:
            held_out["drawn"] = made.drawn_held_out
    task = CaptionerTask(model, processor, turns, held_out, made, rests_on)
    train(task, settings, folder, run, dry_run=dry_run)


def check_sizes(run: CaptionerRun) -> None:
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
