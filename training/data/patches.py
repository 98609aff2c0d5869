"""Words for the patches of a picture of Shapes World, which a vision tower can learn to see from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...shapes_world import COLORS, PATTERNS, SHAPES, Look

# A patch belongs to a thing that covers this share of it, to the background below the second, else to none.
_COVERED, _FREE = 0.35, 0.1
IGNORED = -100
PATCH_WORDS = {"shape": SHAPES, "color": tuple(COLORS), "pattern": PATTERNS}


def patch_labels(masks: NDArray[np.bool_], looks: Sequence[Look], grid: int) -> dict[str, NDArray[np.int64]]:
    """For shape, colour and pattern the number of the word in each of grid × grid patches.

    masks (instances, height, width), at least one, sides multiples of `grid`. The number after the last word
    is the background; where neither fills enough of a patch it is `IGNORED`, as cross-entropy leaves it out.
    """
    count, height, width = masks.shape
    cells = masks.reshape(count, grid, height // grid, grid, width // grid).mean(axis=(2, 4))
    owner, share = cells.argmax(axis=0), cells.max(axis=0)
    labels: dict[str, NDArray[np.int64]] = {}
    for name, words in PATCH_WORDS.items():
        numbers = np.array([words.index(getattr(look, name)) for look in looks])[owner]
        found = np.where(share >= _COVERED, numbers, IGNORED)
        labels[name] = np.where(share < _FREE, len(words), found).astype(np.int64)
    return labels
