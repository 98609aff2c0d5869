"""The demo UNet with a first level twice as wide, to go on learning from where the narrow one is."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from .architecture import make_unet

# These write what the last group norm sees. They stay fresh: a copy would see pairs of equal channels, whose
# mean that norm takes away as it does in the narrow UNet.
_FRESH = (
    "up_blocks.2.resnets.2.conv2.",
    "up_blocks.2.resnets.2.conv_shortcut.",
    "conv_norm_out.",
    "conv_out.",
)
_SINUSOIDS = "time_embedding.linear_1.weight"
# How unevenly two copies share what their original gave: equal ones would learn the same for ever.
_SPREAD = 0.2


def widen_unet(narrow: UNet2DConditionModel) -> UNet2DConditionModel:
    """A UNet of the demo's widths from one with half its first: every channel and time feature twice.

    Copies share their original's outgoing weights, so layers compute what they did. Not those that are fresh,
    and not quite where the first level meets the second: group norms there have other groups, and a second
    level that is no wider than the first has no projection between them. Draws from the global random
    generator. `ValueError` if the widths are others.

    Source: Net2WiderNet (Chen et al. 2016, arXiv 1511.05641).
    """
    wide = make_unet()
    widths: list[int] = list(wide.config["block_out_channels"])
    given: list[int] = list(narrow.config["block_out_channels"])
    if [2 * given[0], *given[1:]] != widths:
        raise ValueError(
            f"a UNet of widths {given} cannot be widened to {widths}; its first must be half as wide"
        )
    old = narrow.state_dict()
    for name, value in wide.state_dict().items():
        if not name.startswith(_FRESH):
            value.copy_(_widened(name, old[name], value.shape))
    _join_projection(old, wide.state_dict())
    return wide


def _join_projection(old: dict[str, Tensor], new: dict[str, Tensor]) -> None:
    """Let downsampling do what the projection after it did; what else reads it, reads it back."""
    down, projection = "down_blocks.0.downsamplers.0.conv", "down_blocks.1.resnets.0.conv_shortcut"
    matrix = old[f"{projection}.weight"][:, :, 0, 0]
    kernel = torch.einsum("oi,ichw->ochw", matrix, old[f"{down}.weight"])
    new[f"{down}.weight"].copy_(_twice(kernel, 1, len(kernel), shared=True))
    shift = old[f"{projection}.bias"]
    new[f"{down}.bias"].copy_(matrix @ old[f"{down}.bias"] + shift)
    name = "up_blocks.1.resnets.2.conv_shortcut"
    hidden, skip = old[f"{name}.weight"][:, :, 0, 0].split((len(matrix), matrix.shape[1]), dim=1)
    back = skip @ torch.linalg.pinv(matrix)
    new[f"{name}.weight"].copy_(torch.cat((hidden, back), dim=1)[:, :, None, None])
    new[f"{name}.bias"].copy_(old[f"{name}.bias"] - back @ shift)


def _widened(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    value = _twice(value, 0, shape[0])
    if name == _SINUSOIDS:
        # Twice as many frequencies over the same range: every second one is an old one.
        columns = torch.zeros(shape)
        columns[:, ::2] = value
        return columns
    return value if value.ndim == 1 else _twice(value, 1, shape[1], shared=True)


def _twice(value: Tensor, axis: int, size: int, *, shared: bool = False) -> Tensor:
    """The last channels twice, so that there are `size`; `shared` copies add up to their original."""
    added = size - value.shape[axis]
    single, last = value.split((value.shape[axis] - added, added), dim=axis)
    copies = torch.stack((last, last), dim=axis + 1)
    if shared:
        share = 0.5 + _SPREAD * torch.randn_like(last)
        copies = copies * torch.stack((share, 1 - share), dim=axis + 1)
    return torch.cat((single, copies.flatten(axis, axis + 1)), dim=axis)
