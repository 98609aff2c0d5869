"""Reward models: how well a picture shows what a prompt says, in one aspect of composition."""

from .aspects import (
    ASPECTS,
    SUFFIXES,
    aspect_of_name,
    combine,
    rank,
    reward_files,
)
from .checkpoint import read_reward
from .config import RewardConfig
from .losses import (
    pair_accuracy,
    pairs_of_ranks,
    pairwise_loss,
    share_with_error,
)
from .model import RewardModel
from .pixels import prepare_decoded, prepare_pictures
from .tokens import Prompts, RewardTokenizer, find_tokenizer

__all__ = [
    "ASPECTS",
    "SUFFIXES",
    "Prompts",
    "RewardConfig",
    "RewardModel",
    "RewardTokenizer",
    "aspect_of_name",
    "combine",
    "find_tokenizer",
    "pair_accuracy",
    "pairs_of_ranks",
    "pairwise_loss",
    "prepare_decoded",
    "prepare_pictures",
    "rank",
    "read_reward",
    "reward_files",
    "share_with_error",
]
