"""What is kept back from a data set, to measure the loss on."""

from __future__ import annotations

from collections.abc import Sequence

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


def hold_out_texts(texts: Sequence[str], number: int, what: str) -> tuple[list[int], list[int]]:
    """Places of so many different texts, and of all others: a text that comes again is with its like.

    Raises as `hold_out` does.
    """
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, []).append(place)
    different = [*places.values()]
    held, left = hold_out(len(different), number, what)
    return [different[one][0] for one in held], sorted(place for one in left for place in different[one])
