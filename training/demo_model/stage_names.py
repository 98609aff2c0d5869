"""Names of the demo's stages, base and rewards, in their order, for `--help` to list without torch."""

from typing import Literal, get_args

StageName = Literal[
    "crops",
    "autoencoder",
    "base-scenes",
    "base-mixed",
    "base-final",
    "base-checked",
    "base-pairs",
    "base-relations",
    "base-numbers",
    "transformer",
    "decoder",
]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)
RewardStageName = Literal["patches", "rewards", "relations"]
REWARD_STAGE_NAMES: tuple[RewardStageName, ...] = get_args(RewardStageName)
