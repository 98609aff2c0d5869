"""Shares of the conditionings of one group (all positives, say) in what ComfyUI makes of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

# What ComfyUI begins its sum of weights with, so that a place without any can be divided by it.
NOTHING = 1e-37


def shares_of(conds: Sequence[Mapping[str, Any]], latent: Tensor, sigmas: Tensor) -> list[Tensor | None]:
    """How much (B, C, h, w) of a group's output is each conditioning's; None for one that is not evaluated.

    By areas, masks, strengths and ranges, as ComfyUI adds them up: of a conditioning alone it is 1. Their
    `model_conds` are asked for what they are at this latent, as they are when the model runs.
    """
    found = [_weight(cond, latent, sigmas) for cond in conds]
    default = ["default" in cond for cond in conds]
    placed = [one for one, rest in zip(found, default, strict=True) if one is not None and not rest]
    if any(default):
        # The default prompts get what the others leave.
        left = (torch.ones_like(latent) - sum(placed)).relu_()
        found = [left if rest and one is not None else one for one, rest in zip(found, default, strict=True)]
    whole = torch.full_like(latent, NOTHING)
    for one in found:
        if one is not None:
            whole = whole + one
    return [None if one is None else one / whole for one in found]


def _weight(cond: Mapping[str, Any], latent: Tensor, sigmas: Tensor) -> Tensor | None:
    seen = comfy.samplers.get_area_and_mult(cond, latent, sigmas)
    if seen is None:
        return None
    if seen.area is None:
        return seen.mult
    weight = torch.zeros_like(latent)
    part, dimensions = weight, len(seen.area) // 2
    for index, (size, start) in enumerate(zip(seen.area[:dimensions], seen.area[dimensions:], strict=True)):
        part = part.narrow(index + 2, start, size)
    part.copy_(seen.mult)
    return weight
