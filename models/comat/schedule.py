"""Which sampling steps carry a gradient, at which of them attention is read, and what the captioner sees.

Source: CoMat (arXiv 2404.03653), 5 of 50 steps, and its released code for how they are drawn.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from torch import Tensor

# The released code shifts the picture by up to this share of its side before a captioner sees it.
_SHIFTS = 224


class Schedule(NamedTuple):
    """Numbers of sampling steps with a gradient, and those of them at which attention counts, one by one as
    drawn; a step drawn twice counts once. `offsets` are the rows and columns left out before a crop.
    """

    gradient_steps: tuple[int, ...]
    attention_steps: tuple[int, ...]
    offsets: tuple[int, int]


def draw_schedule(
    total: int, gradient_steps: int, attention_steps: int, side: int, numbers: random.Random
) -> Schedule:
    """The schedule of one batch: `gradient_steps` of `total` at equal distances from a random start.

    Where they do not divide the total it may be one more. `attention_steps` are drawn from them with
    replacement. `side` is the picture's shorter one in pixels. ValueError for more gradient steps than steps.
    """
    if not 1 <= gradient_steps <= total:
        raise ValueError(
            f"{gradient_steps} gradient steps of {total} were asked for; 1 to {total} are allowed"
        )
    interval = total // gradient_steps
    start = numbers.randint(0, total - interval * (gradient_steps - 1) - 1)
    steps = tuple(range(start, total, interval))
    attention = tuple(numbers.choices(steps, k=min(attention_steps, len(steps))))
    shift = side // _SHIFTS
    return Schedule(steps, attention, (numbers.randint(0, shift), numbers.randint(0, shift)))


def random_crop(pictures: Tensor, offsets: tuple[int, int]) -> Tensor:
    """Pictures (B, 3, H, W) without a narrow margin, of which the rows and columns before are given."""
    height, width = pictures.shape[-2:]
    shift = min(height, width) // _SHIFTS
    top, left = offsets
    return pictures[..., top : top + height - shift, left : left + width - shift]
