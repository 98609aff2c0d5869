"""Attend-and-Excite's objective, the baseline: each subject's attention should be high somewhere.

Source: Chefer et al. (arXiv 2301.13826), section 3; smoothing and temperature as its authors' code has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention.objective import Energy, maps_by_size

# Factor of the words' probabilities (start and padding left out) before the softmax over words.
TEMPERATURE = 100.0
# Gaussian kernel 3 x 3 of standard deviation 0.5.
DEVIATION = 0.5


@dataclass(frozen=True, eq=False)
class MaxAttentionObjective:
    """Attend-and-Excite's loss (arXiv 2301.13826) on the coarsest maps, as there; `words` tokens of text."""

    nouns: tuple[tuple[int, ...], ...]
    words: int

    def __call__(self, maps: Sequence[Tensor], active: tuple[bool, ...]) -> Energy:
        coarsest = min(maps_by_size(maps).items(), key=lambda item: item[0][0] * item[0][1])[1]
        groups = [tokens for tokens, acts in zip(self.nouns, active, strict=True) if acts]
        value = max_attention_loss(coarsest, groups, self.words)
        return Energy(value, value.detach())


def max_attention_loss(maps: Sequence[Tensor], groups: Sequence[Sequence[int]], words: int) -> Tensor:
    """1 - the highest smoothed attention of the most neglected token: a scalar from 0 to 1, differentiable.

    maps: (heads, h, w, tokens) of one resolution, one for each module; heads and modules are averaged.
    `groups` are the tokens of the subjects, of which each counts alone; the words of the prompt are tokens 1
    to `words`. Without groups it is 0. ValueError for a token that is no word.
    """
    tokens = [token for group in groups for token in group]
    if not tokens:
        return maps[0].new_zeros(())
    for token in tokens:
        if not 1 <= token <= words:
            raise ValueError(
                f"token {token} is no word of the prompt, whose words are tokens 1 to {words}; "
                "name the tokens of its nouns"
            )
    mean = torch.stack([attention.mean(0) for attention in maps]).mean(0)
    shares = (TEMPERATURE * mean[..., 1 : words + 1]).softmax(-1)
    chosen = shares[..., [token - 1 for token in tokens]].permute(2, 0, 1)[:, None]
    smooth = F.conv2d(_padded(chosen), _kernel(chosen))
    return (1.0 - smooth.amax((1, 2, 3))).amax()


def _padded(maps: Tensor) -> Tensor:
    """Maps (N, 1, h, w) with a border of one cell, reflected as there; a lone row or column is repeated."""
    for border, side in (((1, 1, 0, 0), maps.shape[3]), ((0, 0, 1, 1), maps.shape[2])):
        maps = F.pad(maps, border, mode="reflect" if side > 1 else "replicate")
    return maps


def _kernel(like: Tensor) -> Tensor:
    line = torch.exp(-0.5 * (torch.arange(-1.0, 2.0) / DEVIATION) ** 2)
    kernel = torch.outer(line, line)
    return (kernel / kernel.sum()).to(like)[None, None]
