"""The energy that guidance of the latent follows: of one picture, over maps of several layers and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..baselines.attend_and_excite import max_attention_loss
from .losses import pixel_loss, token_loss
from .targets import Targets, own_masks

Grid = tuple[int, int]

# Root mean square of what strength 1 changes in the predicted noise, which itself has 1.
LATENT_STEP = 0.1


class Energy(NamedTuple):
    """A differentiable scalar, and how far its aim is from being reached: 0 to 1, without gradient."""

    value: Tensor
    distance: Tensor


# Maps (heads, h, w, T) of one picture and which entities act -> its energy.
Objective = Callable[[Sequence[Tensor], tuple[bool, ...]], Energy]


@dataclass(frozen=True, eq=False)
class ConcentrationObjective:
    """CoMat's losses (arXiv 2404.03653, paper forms): the token loss averaged over layers, the pixel loss
    over sizes of maps; entities count by the strength of their regions. The distance is the mean share of the
    entities' attention outside their regions.
    """

    targets: Targets
    token_weight: float = 1.0
    pixel_weight: float = 1.0

    def __call__(self, maps: Sequence[Tensor], active: tuple[bool, ...]) -> Energy:
        sizes = maps_by_size(maps)
        weighted: list[Tensor] = []
        outside: list[Tensor] = []
        for size, same in sizes.items():
            masks = self._masks(same, size)
            for index, acts in enumerate(active):
                if not acts:
                    continue
                mask, groups = masks[index : index + 1], (self.targets.groups[index],)
                tokens = token_loss(same, mask, groups) / len(maps)
                pixels = pixel_loss(same, mask, groups) / len(sizes)
                energy = self.token_weight * tokens + self.pixel_weight * pixels
                weighted.append(self.targets.regions.strengths[index] * energy)
                outside.append(tokens.detach() / len(groups[0]))
        count = max(sum(active), 1)
        return Energy(torch.stack(weighted).sum() / count, torch.stack(outside).sum() / count)

    def _masks(self, maps: Sequence[Tensor], size: Grid) -> Tensor:
        masks = self.targets.masks(size, maps[0].device)
        derived = self.targets.members(maps[0].device).derived
        if derived is not None:
            mean = torch.stack([one.detach().mean(0) for one in maps]).mean(0)
            nouns = torch.stack([mean[..., list(tokens)].sum(-1).flatten() for tokens in self.targets.nouns])
            masks = torch.where(derived, own_masks(nouns[None])[0], masks)
        return masks.unflatten(1, size)


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


def maps_by_size(maps: Sequence[Tensor]) -> Mapping[Grid, list[Tensor]]:
    """Maps (heads, h, w, T) of the same (h, w) together."""
    sizes: dict[Grid, list[Tensor]] = {}
    for one in maps:
        sizes.setdefault((one.shape[1], one.shape[2]), []).append(one)
    return sizes


def unit_step(gradient: Tensor, distance: Tensor) -> Tensor:
    """A step down an energy, (B, C, h, w): each picture's gradient at unit root mean square, times its
    distance (B,); zero where there is no gradient.

    Without its length a gradient means the same at every resolution, for every number of layers and at every
    noise level; with the distance the step fades as the aim is reached.
    """
    size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    step = gradient / size.clamp(min=torch.finfo(gradient.dtype).tiny)
    return -distance.to(step)[:, None, None, None] * step
