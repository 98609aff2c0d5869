"""Reward models: scores of how well a picture shows a prompt, each in one aspect of composition.

Callers ask `RewardModel.score` with pictures from `prepare_pictures` or `prepare_decoded` and prompts from a
`RewardTokenizer`, and weigh the scores of several aspects with `combine`. A reward of another architecture
would be a module with the same `score`: pixels (B, 3, side, side), ids and mask (B, T) -> (B,), which can be
differentiated by the pixels, 0 for an average picture and 1 for one that is a standard deviation better.
"""

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
