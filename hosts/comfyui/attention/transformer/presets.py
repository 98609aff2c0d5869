"""Layers of a transformer that a preset takes in."""

from __future__ import annotations

from .....models.sdxl.layer_presets import check_preset
from ..layer_call import Block


def preset_blocks(depth: int, preset: str) -> tuple[Block, ...]:
    """Keys of a preset's layers among `depth` blocks; ValueError for an unknown preset.

    A transformer has one size of picture in all blocks, so a preset goes by depth: all but the first third,
    the middle third ("coarse"), the last third ("fine").
    """
    check_preset(preset)
    third = depth // 3
    first, last = {
        "all": (0, depth),
        "middle and decoder": (third, depth),
        "coarse": (third, depth - third),
        "fine": (min(depth - third, depth - 1), depth),
    }[preset]
    return tuple(layer_key(number) for number in range(first, last))


def layer_key(number: int) -> Block:
    """Key of the block, counted from 0, in which the picture reads text."""
    return "block", number, 0
