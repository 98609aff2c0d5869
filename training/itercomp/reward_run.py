"""One run of reward training, from preferences to a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ...models.rewards import ASPECTS, RewardModel, find_tokenizer, read_reward
from ..data.comparisons import PreferenceFile
from ..data.errors import SourceError
from ..engine.loop import Trainer
from ..engine.settings import WEIGHTS_SEED, Settings
from .reward_objective import RewardTask

# IterComp trains with Adam at 1e-5 over five epochs; its rate falls as a cosine, ours in a straight line.
REWARD_SETTINGS = Settings(
    batch=64, learning_rate=1e-5, warm_up=0, weight_decay=0.0, ema_decay=0.0, every_sample=250
)


@dataclass(frozen=True)
class RewardRun:
    """Preferences in one aspect, those to choose the best model by, and the model to start from.

    `frozen` is the share of layers left as they are.
    """

    aspect: str
    data: Path
    validation: Path
    init: Path
    frozen: float = 0.0


def train_reward(run: RewardRun, settings: Settings, folder: Path) -> None:
    """Train, or continue training, one reward model in `folder`."""
    if run.aspect not in ASPECTS:
        raise SourceError(f"there is no aspect {run.aspect!r}; choose {', '.join(ASPECTS)}")
    if not 0 <= run.frozen < 1:
        raise SourceError(f"the frozen share is {run.frozen:g}; it must be from 0 up to 1")
    torch.manual_seed(WEIGHTS_SEED)
    state, told = read_reward(run.init)
    model = RewardModel.from_state_dict({key: value.float() for key, value in state.items()}, told)
    tokenizer = find_tokenizer(run.init, told, model.config.vocabulary, model.config.tokens)
    source, validation = (PreferenceFile(path, run.aspect) for path in (run.data, run.validation))
    task = RewardTask(model, tokenizer, source, validation, (run.aspect,), run.frozen)
    Trainer(task, settings, folder).run()
