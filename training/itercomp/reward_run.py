"""Run of reward training, from preferences to a trained model."""

from __future__ import annotations

from pathlib import Path

import torch

from ...models.rewards import ASPECTS, RewardModel, find_tokenizer, read_reward
from ..data.comparisons import PreferenceFile
from ..data.errors import SourceError
from ..data.text import tell_if_unread
from ..engine.loop import train
from ..engine.settings import WEIGHTS_SEED, Settings
from .reward_objective import RewardTask
from .reward_options import RewardRun


def check_frozen(share: float) -> None:
    """`SourceError` for what is no share of layers, or all of them."""
    if not 0 <= share < 1:
        raise SourceError(f"the frozen share is {share:g}; it must be from 0 up to 1")


def train_reward(run: RewardRun, settings: Settings, folder: Path, *, dry_run: bool = False) -> None:
    """Train, or continue training, one reward model in `folder`; a dry run only says what that would take."""
    if run.aspect not in ASPECTS:
        raise SourceError(f"there is no aspect {run.aspect!r}; choose {', '.join(ASPECTS)}")
    check_frozen(run.frozen)
    torch.manual_seed(WEIGHTS_SEED)
    state, metadata = read_reward(run.init)
    model = RewardModel.from_state_dict({key: value.float() for key, value in state.items()}, metadata)
    tokenizer = find_tokenizer(run.init, metadata, model.config.vocabulary, model.config.tokens)
    source, validation = (PreferenceFile(path, run.aspect) for path in (run.data, run.validation))
    every = (prompt for file in (source, validation) for prompt, _, _ in file.rankings)
    tell_if_unread("the reward model", tokenizer, every)
    task = RewardTask(model, tokenizer, source, validation, (run.aspect,), run.frozen)
    train(task, settings, folder, run, dry_run=dry_run)
