"""How far tuning has moved a base's pictures: those of the same prompts and noise, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...pictures.reading import read_picture
from ...rankings.gallery import Prompt
from ...rankings.pictures import picture_file

# Pictures are compared at this size: what moves by a pixel, and grain, is no other picture.
SIDE = 64


def picture_distances(
    folder: Path, base: str, tuned: str, prompts: Sequence[Prompt]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each prompt: the distance from the base's picture to the tuned one, and to the base's of the next.

    A distance is the root of the mean squared difference of two pictures, 64 × 64 and colours 0..1: 0 is the
    same picture. Two pictures of the base that have nothing but the base in common say what is much. The
    second is empty for a single prompt.
    """
    before, after = (
        np.stack([small(read_picture(picture_file(folder, member, one))) for one in prompts])
        for member in (base, tuned)
    )
    unrelated = distance(before, np.roll(before, 1, axis=0)) if len(prompts) > 1 else np.empty(0)
    return distance(before, after), unrelated


def small(picture: Image.Image) -> NDArray[np.float64]:
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)) / 255


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.square(one - other).mean(axis=(1, 2, 3)))
