"""The demo's reward models, trained on Shapes World in all three aspects at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...models.rewards import ASPECTS, RewardModel, read_reward
from ...shapes_world import ShapesWorld
from ...shapes_world.preferences import Comparisons
from ..data.comparisons import WorldPreferences
from ..engine.loop import Trainer
from ..engine.settings import WEIGHTS_SEED, Settings, read_settings
from ..itercomp.reward_objective import RewardTask
from .patches import PatchTask
from .reward_model import small_reward_model

# Pictures to train on, and to choose the best model by; evaluation draws from another seed.
TRAINING_SEED, VALIDATION_SEED, EVALUATION_SEED = 11, 12, 13
_TRAINING_COUNT, _VALIDATION_COUNT = 3000, 60
# Few things first and foremost: with one or two, what is bound to what is learnt soonest.
FIGURES = (0.25, 0.35, 0.2, 0.12, 0.08)

_PATCHES = Settings(
    steps=600,
    batch=24,
    learning_rate=2e-3,
    warm_up=50,
    cool_down=250,
    ema_decay=0.98,
    every_checkpoint=50,
    every_sample=300,
)
_SMALL = Settings(
    steps=1500,
    batch=6,
    learning_rate=1e-3,
    warm_up=50,
    cool_down=500,
    ema_decay=0.99,
    every_log=20,
    every_checkpoint=50,
    every_sample=200,
)


def train_world_rewards(folder: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Train, or continue training, small reward models of Shapes World, all three aspects at once.

    First the vision tower learns to see, in `folder/patches`, then the whole model what is better, in
    `folder/rewards`. `changes` are settings by the name of the stage.
    """
    torch.manual_seed(WEIGHTS_SEED)
    model, tokenizer = small_reward_model()
    settings = {
        name: read_settings((changes or {}).get(name, {}), defaults)
        for name, defaults in (("patches", _PATCHES), ("rewards", _SMALL))
    }
    Trainer(PatchTask(model, ShapesWorld(TRAINING_SEED)), settings["patches"], folder / "patches").run()
    state, told = read_reward(folder / "patches" / "model" / "reward.safetensors")
    torch.manual_seed(WEIGHTS_SEED)
    model = RewardModel.from_state_dict(state, told)
    source, validation = (
        WorldPreferences(Comparisons(seed, figures=FIGURES), count)
        for seed, count in ((TRAINING_SEED, _TRAINING_COUNT), (VALIDATION_SEED, _VALIDATION_COUNT))
    )
    task = RewardTask(model, tokenizer, source, validation, ASPECTS, words=True)
    Trainer(task, settings["rewards"], folder / "rewards").run()
