"""The demo's reward models, trained on Shapes World in all three aspects at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.rewards import ASPECTS, RewardModel, find_tokenizer, read_reward
from ...shapes_world import ShapesWorld
from ...shapes_world.preferences import FEW_THINGS, Comparisons
from ..data.comparisons import WorldPreferences
from ..engine.settings import Settings
from ..itercomp.reward_objective import RewardTask
from .patches import PatchTask
from .reward_model import small_reward_model
from .stage import Stage, train_or_tell

# Pictures to train on, and to choose the best model by; evaluation draws from another seed.
TRAINING_SEED, VALIDATION_SEED = 11, 12
_TRAINING_COUNT, _VALIDATION_COUNT = 3000, 60


@dataclass(frozen=True)
class PatchStage(Stage):
    """The vision tower of a fresh reward model learns to see."""

    def task(self, folder: Path, *, blank: bool = False) -> PatchTask:
        model, _ = small_reward_model()
        return PatchTask(model, ShapesWorld(TRAINING_SEED))


@dataclass(frozen=True)
class RewardStage(Stage):
    """The whole model learns which picture is better, in all three aspects at once."""

    def task(self, folder: Path, *, blank: bool = False) -> RewardTask:
        file = folder / str(self.before) / "model" / "reward.safetensors"
        state, metadata = read_reward(file)
        model = RewardModel.from_state_dict(state, metadata)
        tokenizer = find_tokenizer(file, metadata, model.config.vocabulary, model.config.tokens)
        source, validation = (
            WorldPreferences(Comparisons(seed, figures=FEW_THINGS), count)
            for seed, count in ((TRAINING_SEED, _TRAINING_COUNT), (VALIDATION_SEED, _VALIDATION_COUNT))
        )
        return RewardTask(model, tokenizer, source, validation, ASPECTS, words=True)


STAGES = (
    PatchStage(
        "patches",
        Settings(
            steps=600,
            batch=24,
            learning_rate=2e-3,
            warm_up=50,
            cool_down=250,
            ema_decay=0.98,
            every_checkpoint=50,
            every_sample=300,
        ),
    ),
    RewardStage(
        "rewards",
        Settings(
            steps=1500,
            batch=6,
            learning_rate=1e-3,
            warm_up=50,
            cool_down=500,
            ema_decay=0.99,
            every_log=20,
            every_checkpoint=50,
            every_sample=200,
        ),
        "patches",
    ),
)


def train_world_rewards(
    folder: Path, changes: Mapping[str, Mapping[str, Any]] | None = None, *, dry_run: bool = False
) -> None:
    """Train, or continue training, small reward models of Shapes World, one folder a stage.

    `changes` are settings by the name of the stage.
    """
    for stage in [stage.changed((changes or {}).get(stage.name, {})) for stage in STAGES]:
        train_or_tell(stage, folder, dry_run)
