"""Stage of a recipe: one run that starts from what an earlier one left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..engine.loop import Trainer
from ..engine.settings import WEIGHTS_SEED, Settings, read_settings
from ..engine.task import Task

StageT = TypeVar("StageT", bound="Stage")


@dataclass(frozen=True)
class Stage(ABC):
    """A run with settings of its own; `before` is the stage whose model it starts from."""

    name: str
    settings: Settings
    before: str | None = None

    def changed(self: StageT, changes: Mapping[str, Any]) -> StageT:
        """The stage with some settings replaced; `SettingsError` for those there are not."""
        return replace(self, settings=read_settings(changes, self.settings))

    def train(self, folder: Path) -> None:
        """Run or continue it in `folder`, which holds one folder for each stage of the recipe."""
        torch.manual_seed(WEIGHTS_SEED)
        Trainer(self.task(folder), self.settings, folder / self.name).run()

    @abstractmethod
    def task(self, folder: Path) -> Task[Any]:
        """The task of the run; fresh weights are drawn from the global random generator."""
