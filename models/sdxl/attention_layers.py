"""Attention layers of SDXL under their official numbers.

A published IFAdapter names its modules by the position of an attention processor in diffusers'
enumeration of the UNet: down blocks, then up blocks, then the mid block, and within each transformer
block self-attention before cross-attention (`attn_processors`, the same in diffusers 0.30 and 0.39).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class AttentionLayer(NamedTuple):
    """One cross-attention layer: `position` counts the attentions of its stage in execution order."""

    stage: str
    position: int
    transformer_block: int

    def __str__(self) -> str:
        return f"{self.stage} attention {self.position}, transformer block {self.transformer_block}"


def number_attention_layers(down: Sequence[int], up: Sequence[int], mid: int) -> dict[int, AttentionLayer]:
    """Official processor number of every cross-attention layer of a UNet.

    `down` and `up` hold the number of transformer blocks of each attention of that stage in execution
    order (attention-free positions left out), `mid` that of the middle block; SDXL is
    `[2, 2, 10, 10]`, `[10, 10, 10, 2, 2, 2]`, `10`.
    """
    places = [
        AttentionLayer(stage, position, block)
        for stage, depths in (("down", down), ("up", up), ("mid", [mid]))
        for position, depth in enumerate(depths)
        for block in range(depth)
    ]
    # Two processors per transformer block; the second is cross-attention.
    return {2 * index + 1: place for index, place in enumerate(places)}
