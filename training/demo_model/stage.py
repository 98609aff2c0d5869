"""Stage of a recipe: one run that starts from what an earlier one left."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..data.errors import SourceError
from ..engine.loop import train
from ..engine.settings import WEIGHTS_SEED, Settings, read_settings
from ..engine.task import Task

logger = logging.getLogger("instance_composer")

StageT = TypeVar("StageT", bound="Stage")


@dataclass(frozen=True)
class Stage(ABC):
    """A run with settings of its own; `before` is the stage whose model it starts from.

    `start` is another place of that model, where the stage before was not trained here.
    """

    name: str
    settings: Settings
    before: str | None = None
    start: Path | None = None

    def changed(self: StageT, changes: Mapping[str, Any]) -> StageT:
        """The stage with some settings replaced; `SettingsError` for those there are not."""
        return replace(self, settings=read_settings(changes, self.settings))

    def starting_from(self: StageT, start: Path) -> StageT:
        """The stage with its first model at `start`."""
        return replace(self, start=start)

    def model_before(self, folder: Path) -> Path:
        """Where the model is that the stage starts from."""
        return self.start or folder / str(self.before) / "model"

    def train(self, folder: Path, *, dry_run: bool = False) -> None:
        """Run or continue it in `folder`, which holds one folder for each stage of the recipe.

        A dry run only says what that would take; `SourceError` where the stage before is not trained yet.
        """
        torch.manual_seed(WEIGHTS_SEED)
        task = self.task(folder)
        train(task, self.settings, folder / self.name, dry_run=dry_run)

    @abstractmethod
    def task(self, folder: Path) -> Task[Any]:
        """The task of the run; fresh weights are drawn from the global random generator."""


def train_or_tell(stage: Stage, folder: Path, dry_run: bool) -> None:
    """Train a stage; in a dry run say what it takes, or what has to be trained before that can be said."""
    logger.info("stage %s: %d steps in %s", stage.name, stage.settings.steps, folder / stage.name)
    try:
        stage.train(folder, dry_run=dry_run)
    except (SourceError, OSError) as error:
        if not dry_run:
            raise
        logger.info("not known yet: %s", error)
