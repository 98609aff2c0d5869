"""Which samples a step sees, and which random numbers: functions of the seed and the place alone.

So a resumed run needs no state of a data loader or a random generator to continue as if never interrupted.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from .task import Place


def sample_numbers(count: int, batch: int, number: int, seed: int) -> list[int]:
    """The samples, out of `count`, of batch `number`: every epoch is a new permutation of all of them."""
    places = range(number * batch, (number + 1) * batch)
    return [int(_permutation(count, place // count, seed)[place % count]) for place in places]


@lru_cache(maxsize=4)
def _permutation(count: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def generator_at(place: Place, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator of its own for every batch."""
    state = np.random.SeedSequence([seed, place.number]).generate_state(1, np.uint64)[0]
    # PyTorch takes seeds below 2^63.
    return torch.Generator(device).manual_seed(int(state) >> 1)
