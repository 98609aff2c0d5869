"""The demo's reward models, trained on Shapes World in all three aspects at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.rewards import ASPECTS, RewardModel, RewardTokenizer, find_tokenizer, read_reward
from ...shapes_world import ShapesWorld
from ...shapes_world.preferences import FEW_THINGS, Comparisons
from ...shapes_world.relation_pairs import RelationPairs
from ..data.comparisons import Alternating, WorldPreferences
from ..data.errors import SourceError
from ..engine.settings import Settings
from ..itercomp.reward_objective import RewardTask
from .patches import PatchTask
from .reward_model import show_places, small_reward_model
from .stage import Stage, train_or_tell

# Pictures to train on, and to choose the best model by; evaluation draws from another seed.
TRAINING_SEED, VALIDATION_SEED = 11, 12
_TRAINING_COUNT, _VALIDATION_COUNT = 3000, 60
_RELATION_VALIDATION_COUNT = 150
_SPATIAL = ("spatial",)


@dataclass(frozen=True)
class PatchStage(Stage):
    """The vision tower of a fresh reward model learns to see."""

    def task(self, folder: Path) -> PatchTask:
        model, _ = small_reward_model()
        return PatchTask(model, ShapesWorld(TRAINING_SEED))


@dataclass(frozen=True)
class RewardStage(Stage):
    """The whole model learns which picture is better, in all three aspects at once.

    A model of one aspect, of an earlier run, can be its start: it knows words and places already, and each
    aspect begins as its reward.
    """

    def task(self, folder: Path) -> RewardTask:
        model, tokenizer = _read(self.model_before(folder), "reward")
        if model.config.head[-1] != len(ASPECTS):
            model = model.several_aspects(len(ASPECTS))
        show_places(model, ShapesWorld(TRAINING_SEED))
        source, validation = (
            WorldPreferences(Comparisons(seed, figures=FEW_THINGS), count)
            for seed, count in ((TRAINING_SEED, _TRAINING_COUNT), (VALIDATION_SEED, _VALIDATION_COUNT))
        )
        return RewardTask(model, tokenizer, source, validation, ASPECTS, words=True, places=True)


@dataclass(frozen=True)
class RelationStage(Stage):
    """The spatial model learns sides: relation pairs, in turn with the comparisons it knows.

    The best model is chosen by held-out relation pairs alone.
    """

    def task(self, folder: Path) -> RewardTask:
        model, tokenizer = _read(self.model_before(folder), _SPATIAL[0])
        show_places(model, ShapesWorld(TRAINING_SEED))
        source = Alternating(
            (
                WorldPreferences(RelationPairs(TRAINING_SEED), _TRAINING_COUNT, _SPATIAL),
                WorldPreferences(Comparisons(TRAINING_SEED, figures=FEW_THINGS), _TRAINING_COUNT, _SPATIAL),
            )
        )
        validation = WorldPreferences(RelationPairs(VALIDATION_SEED), _RELATION_VALIDATION_COUNT, _SPATIAL)
        return RewardTask(model, tokenizer, source, validation, _SPATIAL, words=True, places=True)


def _read(place: Path, name: str) -> tuple[RewardModel, RewardTokenizer]:
    """A model by its name in a folder, or of a file."""
    file = place if place.is_file() else place / f"{name}.safetensors"
    if not file.is_file():
        raise SourceError(
            f"there is no reward model {file}; train the stage before first, or name another with --init"
        )
    state, metadata = read_reward(file)
    model = RewardModel.from_state_dict({key: value.float() for key, value in state.items()}, metadata)
    return model, find_tokenizer(file, metadata, model.config.vocabulary, model.config.tokens)


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
    # A pair of two pictures and two prompts is a third of a comparison's work: more of them a step.
    RelationStage(
        "relations",
        Settings(
            steps=3000,
            batch=16,
            learning_rate=7e-4,
            warm_up=50,
            cool_down=1000,
            ema_decay=0.99,
            every_log=20,
            every_checkpoint=50,
            every_sample=200,
        ),
        "rewards",
    ),
)


def train_world_rewards(
    folder: Path,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    only: Sequence[str] = (),
    start: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Train, or continue training, small reward models of Shapes World, one folder a stage.

    `changes` are settings by the name of the stage; `only` names the stages that are run (default: all).
    `start` is the model, a file or its folder, that the first of them starts from (default: what the stage
    before has made).
    """
    chosen = [stage for stage in STAGES if not only or stage.name in only]
    if start is not None:
        if chosen[0].before is None:
            raise SourceError(f"the stage {chosen[0].name} starts from nothing; choose a later one")
        chosen[0] = chosen[0].starting_from(start)
    for stage in [stage.changed((changes or {}).get(stage.name, {})) for stage in chosen]:
        train_or_tell(stage, folder, dry_run)
