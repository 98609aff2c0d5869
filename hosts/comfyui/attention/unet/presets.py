"""Layers of a ComfyUI UNet that a preset takes in."""

from __future__ import annotations

from typing import Any, cast

import comfy.model_base

from .....models.sdxl.layer_presets import check_preset
from ..layer_call import Block
from .layers import attention_layers, cross_attention_blocks, transformer_block


def preset_blocks(model: Any, preset: str) -> tuple[Block, ...]:
    """ComfyUI's attn2 keys of a preset's layers in a UNet; ValueError for an unknown preset."""
    check_preset(preset)
    unet = model.get_model_object("diffusion_model")
    if isinstance(model.model, comfy.model_base.SDXL):
        places = dict(attention_layers(unet).values())
    else:
        places = {key: transformer_block(unet, key).attn2 for key in cross_attention_blocks(unet)}
    widths: dict[Block, int] = {
        block: cast(Any, attention).to_q.in_features for block, attention in places.items()
    }
    coarse = max(widths.values())
    if preset == "all":
        return tuple(widths)
    decoder = {block: width for block, width in widths.items() if block[0] != "input"}
    if preset == "middle and decoder":
        return tuple(decoder)
    return tuple(block for block, width in decoder.items() if (width == coarse) == (preset == "coarse"))
