"""Order of samples, and random numbers of a batch: functions of the seed and the batch's position alone.

So a resumed run needs no state of a data loader or a random generator to continue as if never interrupted.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from .task import BatchPosition

_MASKS = 1


def sample_numbers(count: int, batch: int, number: int, seed: int) -> list[int]:
    """The samples, out of `count`, of batch `number`: every epoch is a new permutation of all of them."""
    order = _order(count, seed)
    drawn = range(number * batch, (number + 1) * batch)
    return [int(order.permutation(one // count)[one % count]) for one in drawn]


class _Order:
    """The order of a data set, of which the permutation of one epoch is kept: batches follow each other."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._epoch, self._permutation = -1, np.empty(0, np.uint32)

    def permutation(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            # The earlier one goes first: at most one is held, four bytes a sample.
            self._permutation = np.empty(0, np.uint32)
            whole = np.random.default_rng([self._seed, epoch]).permutation(self._count)
            self._epoch, self._permutation = epoch, whole.astype(np.uint32)
        return self._permutation


# A run has a data set for each size of pictures.
@lru_cache(maxsize=32)
def _order(count: int, seed: int) -> _Order:
    return _Order(count, seed)


def generator_at(position: BatchPosition, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator of its own for every batch."""
    return torch.Generator(device).manual_seed(_seed(seed, position.number))


def seed_masks(position: BatchPosition, seed: int) -> None:
    """Let what draws from torch's own generators, on every device, be the batch's own too: dropout."""
    # Others than the noise of the same batch: the same numbers would tie masks to it.
    torch.manual_seed(_seed(seed, position.number, _MASKS))


def _seed(*numbers: int) -> int:
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    # PyTorch takes seeds below 2^63.
    return int(state) >> 1
