"""Energy of attribute concentration over maps of several layers, and the step along its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention.objective import Energy, Grid, Objective, maps_by_size
from ..baselines.attend_and_excite import MaxAttentionObjective
from .losses import chosen, pixel_loss, token_loss
from .targets import Targets, own_masks

__all__ = [
    "LATENT_STEP",
    "LOSS_SCALES",
    "ConcentrationObjective",
    "Energy",
    "MaxAttentionObjective",
    "Objective",
    "maps_by_size",
    "unit_step",
]

# Root mean square of the change that strength 1 makes to the predicted noise, which itself has 1.
LATENT_STEP = 0.1
# SDXL's own largest noise level. Zero-terminal-SNR schedules begin at 4,519 and are below 40 a step later: a
# tenth of that noise is more than the rest of the run could take back.
LARGEST_NOISE = 14.6147
# Factors of an energy before it is followed back, without which half precision would make zeros of the
# gradient: an energy is a mean over cells, heads and layers. Where it overflows, the next is tried. The
# factor cancels in `unit_step`, which divides by the gradient's length.
LOSS_SCALES = (2.0**16, 2.0**8, 1.0)


@dataclass(frozen=True, eq=False)
class ConcentrationObjective:
    """CoMat's losses (arXiv 2404.03653, paper forms): the token loss averaged over layers, the pixel loss
    over sizes of maps; entities count by the strength of their regions. The distance is the mean share of the
    entities' attention outside their regions. Both are 0 where none acts.
    """

    targets: Targets
    token_weight: float = 1.0
    pixel_weight: float = 1.0

    def __call__(self, maps: Sequence[Tensor], active: tuple[bool, ...]) -> Energy:
        sizes = maps_by_size(maps)
        indices, _ = self.targets.indices(maps[0].device)
        weighted: list[Tensor] = []
        outside: list[Tensor] = []
        for size, same in sizes.items():
            masks = self._masks(same, size)
            for index, acts in enumerate(active):
                if not acts:
                    continue
                mask, groups = masks[index : index + 1], (indices[index],)
                tokens = token_loss(same, mask, groups) / len(maps)
                pixels = pixel_loss(same, mask, groups) / len(sizes)
                energy = self.token_weight * tokens + self.pixel_weight * pixels
                weighted.append(self.targets.regions.strengths[index] * energy)
                outside.append(tokens.detach() / len(groups[0]))
        if not weighted:
            return Energy(maps[0].new_zeros(()), maps[0].new_zeros(()))
        count = sum(active)
        return Energy(torch.stack(weighted).sum() / count, torch.stack(outside).sum() / count)

    def _masks(self, maps: Sequence[Tensor], size: Grid) -> Tensor:
        masks = self.targets.masks(size, maps[0].device)
        derived = self.targets.members(maps[0].device).derived
        if derived is not None:
            mean = torch.stack([one.detach().mean(0) for one in maps]).mean(0)
            _, indices = self.targets.indices(mean.device)
            nouns = torch.stack([chosen(mean, tokens).sum(-1).flatten() for tokens in indices])
            masks = torch.where(derived, own_masks(nouns[None])[0], masks)
        return masks.unflatten(1, size)


def unit_step(gradient: Tensor, distance: Tensor) -> Tensor:
    """A step down an energy, (B, C, h, w): each picture's gradient at unit root mean square, times its
    distance (B,); zero where there is no gradient. Computed in float32, because squares of small numbers in
    half precision are 0.

    Without its length a gradient means the same at every resolution, for every number of layers and at every
    noise level; with the distance the step fades as the aim is reached.
    """
    whole = gradient.float()
    size = whole.square().mean((1, 2, 3), keepdim=True).sqrt()
    step = whole / size.clamp(min=torch.finfo(whole.dtype).tiny)
    return (-distance.to(step)[:, None, None, None] * step).to(gradient.dtype)
