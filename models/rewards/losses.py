"""The loss of reward models, over pairs of which one picture shows a prompt better, and its accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pairwise_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Mean of -log σ(better - worse) over raw rewards (N,) of N pairs.

    Source: ImageReward (arXiv 2304.05977), equation 1; IterComp trains its three models with it.
    """
    return -F.logsigmoid(better - worse).mean()


def pair_accuracy(better: Tensor, worse: Tensor) -> Tensor:
    """Share of pairs (N,) in which the better one has the higher reward."""
    return (better > worse).float().mean()


def pairs_of_ranks(ranks: Sequence[float]) -> list[tuple[int, int]]:
    """(better, worse) positions of all pairs in a ranking; `ranks` says each one's place, 1 is best.

    Equal places are ties and make no pair. Pairs are listed from the best place down.
    """
    order = torch.argsort(torch.tensor(ranks, dtype=torch.float64), stable=True).tolist()
    return [(a, b) for n, a in enumerate(order) for b in order[n + 1 :] if ranks[a] < ranks[b]]


def share_with_error(shares: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Share of (right, all) summed over comparisons, and its standard error.

    Pairs of one comparison are not independent, so the error is that of a ratio over comparisons.
    """
    right, total = (sum(column) for column in zip(*shares, strict=True)) if shares else (0, 0)
    if not total:
        return 0.0, 0.0
    share, count = right / total, len(shares)
    spread = sum((r - share * n) ** 2 for r, n in shares)
    return share, math.sqrt(spread * count / max(count - 1, 1)) / total
