"""What is kept back from a data set, to measure the loss on."""

from __future__ import annotations

import numpy as np

from .errors import SourceError

_SEED = 0


def hold_out(count: int, number: int, what: str) -> tuple[list[int], list[int]]:
    """So many of `count` samples, drawn at random but always the same, and all the others, both in order.

    `SourceError` where nothing would be left to learn from; `what` they are called.
    """
    if number < 0:
        raise SourceError(f"{number} {what} are to be held out; 0 or more are possible")
    if number and number >= count:
        raise SourceError(
            f"{number} {what} are to be held out and there are {count}; hold out fewer, so that some are "
            "left to learn from"
        )
    held = np.random.default_rng(_SEED).permutation(count)[:number]
    left = np.setdiff1d(np.arange(count), held)
    return np.sort(held).tolist(), left.tolist()
