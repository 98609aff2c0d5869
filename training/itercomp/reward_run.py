"""One run of reward training, from preferences to a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...models.rewards import (
    ASPECTS,
    RewardConfig,
    RewardModel,
    RewardTokenizer,
    find_tokenizer,
    read_reward,
)
from ...shapes_world import ShapesWorld
from ...shapes_world.preferences import Comparisons, words
from ..data.comparisons import PreferenceFile, WorldPreferences
from ..data.latents import SourceError
from ..demo_model.patches import PatchTask
from ..engine.loop import Trainer
from ..engine.settings import Settings, read_settings
from .reward_objective import RewardTask

_WEIGHTS_SEED = 0
# Pictures to train on, and to choose the best model by; evaluation draws from another seed.
TRAINING_SEED, VALIDATION_SEED, EVALUATION_SEED = 11, 12, 13
_TRAINING_COUNT, _VALIDATION_COUNT = 3000, 60
# Few things first and foremost: with one or two, what is bound to what is learnt soonest.
FIGURES = (0.25, 0.35, 0.2, 0.12, 0.08)

# IterComp trains with Adam at 1e-5 over five epochs; its rate falls as a cosine, ours in a straight line.
REWARD_SETTINGS = Settings(
    batch=64, learning_rate=1e-5, warm_up=0, weight_decay=0.0, ema_decay=0.0, every_sample=250
)
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
    torch.manual_seed(_WEIGHTS_SEED)
    state, told = read_reward(run.init)
    model = RewardModel.from_state_dict({key: value.float() for key, value in state.items()}, told)
    tokenizer = find_tokenizer(run.init, told, model.config.vocabulary, model.config.tokens)
    source, validation = (PreferenceFile(path, run.aspect) for path in (run.data, run.validation))
    task = RewardTask(model, tokenizer, source, validation, (run.aspect,), run.frozen)
    Trainer(task, settings, folder).run()


def train_world_rewards(folder: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Train, or continue training, small reward models of Shapes World, all three aspects at once.

    First the vision tower learns to see, in `folder/patches`, then the whole model what is better, in
    `folder/rewards`. `changes` are settings by the name of the stage.
    """
    torch.manual_seed(_WEIGHTS_SEED)
    model, tokenizer = small_reward_model()
    settings = {
        name: read_settings((changes or {}).get(name, {}), defaults)
        for name, defaults in (("patches", _PATCHES), ("rewards", _SMALL))
    }
    Trainer(PatchTask(model, ShapesWorld(TRAINING_SEED)), settings["patches"], folder / "patches").run()
    state, told = read_reward(folder / "patches" / "model" / "reward.safetensors")
    torch.manual_seed(_WEIGHTS_SEED)
    model = RewardModel.from_state_dict(state, told)
    source, validation = (
        WorldPreferences(Comparisons(seed, figures=FIGURES), count)
        for seed, count in ((TRAINING_SEED, _TRAINING_COUNT), (VALIDATION_SEED, _VALIDATION_COUNT))
    )
    task = RewardTask(model, tokenizer, source, validation, ASPECTS, words=True)
    Trainer(task, settings["rewards"], folder / "rewards").run()


def small_reward_model() -> tuple[RewardModel, RewardTokenizer]:
    """A fresh model of all three aspects for Shapes World, with its vocabulary; draws random numbers."""
    vocabulary = words()
    config = RewardConfig(
        image_size=96,
        patch_size=12,
        vision_width=64,
        vision_layers=3,
        vision_heads=4,
        vision_hidden=256,
        vocabulary=len(vocabulary),
        text_width=64,
        text_layers=3,
        text_heads=4,
        text_hidden=256,
        positions=40,
        head=(len(ASPECTS),),
        mean=0.0,
        std=1.0,
        dropout=0.0,
    )
    model = RewardModel(config, {"words": vocabulary})
    _spread(model)
    return model, RewardTokenizer.of_words(vocabulary, config.tokens)


def _spread(model: RewardModel) -> None:
    """Fresh weights for a narrow model.

    BLIP's deviation of 0.02 suits widths of 768 and more; here signals would die out layer by layer.
    Attention of the text tower begins as likeness: words look at words near them, and at patches that
    resemble them once both have directions in common.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
    vision = model.vision.embeddings
    for parameter, std in (
        (vision.position_embedding, 0.3),
        (vision.class_embedding, 0.3),
        (vision.patch_embedding.weight, 0.05),
    ):
        nn.init.normal_(parameter, std=std)
    _number_places(model.text.embeddings.position_embeddings.weight)
    for layer in model.text.encoder.layer:
        for attention, scale in ((layer.attention, 0.8), (layer.crossattention, 1.4)):
            own = attention.self
            for linear in (own.query, own.key):
                _almost_identity(linear.weight, scale)
            for linear in (own.value, attention.output.dense):
                _almost_identity(linear.weight, 0.7)


@torch.no_grad()
def _almost_identity(weight: Tensor, scale: float) -> None:
    weight.mul_(0.2).add_(torch.eye(len(weight)), alpha=scale)


@torch.no_grad()
def _number_places(table: Tensor) -> None:
    """Sines and cosines, so that neighbours are alike; half as long as a word."""
    count, width = table.shape
    rates = 0.6 * 20.0 ** -(torch.arange(width // 2) / (width // 2))
    angles = torch.arange(count)[:, None] * rates
    table.copy_(torch.cat((angles.sin(), angles.cos()), dim=1) * 0.7)
