"""Layers of a ComfyUI UNet that a preset takes in."""

from __future__ import annotations

from typing import Any, cast

import comfy.model_base

from .....models.sdxl.layer_presets import check_preset
from ..errors import ModelMismatchError
from ..layer_call import Block
from .layers import attention_layers


def preset_blocks(model: Any, preset: str) -> tuple[Block, ...]:
    """ComfyUI's attn2 keys of a preset's layers in an SDXL MODEL.

    Raises `ModelMismatchError` for another architecture, ValueError for an unknown preset.
    """
    if not isinstance(model.model, comfy.model_base.SDXL):
        raise ModelMismatchError(
            f"This MODEL is {type(model.model.model_config).__name__}. Attention is recorded in SDXL alone: "
            "SDXL base and checkpoints trained from it (not the refiner). Load an SDXL checkpoint."
        )
    check_preset(preset)
    places = attention_layers(model.get_model_object("diffusion_model")).values()
    widths: dict[Block, int] = {block: cast(Any, attention).to_q.in_features for block, attention in places}
    coarse = max(widths.values())
    if preset == "all":
        return tuple(widths)
    decoder = {block: width for block, width in widths.items() if block[0] != "input"}
    if preset == "middle and decoder":
        return tuple(decoder)
    return tuple(block for block, width in decoder.items() if (width == coarse) == (preset == "coarse"))
