"""Cross-attention layers of a ComfyUI UNet: their keys, their numbers, and those that an IFAdapter adapts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal
from weakref import WeakKeyDictionary

import comfy.model_base
from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer
from torch import nn

from .....models.ifadapter import IFAdapterConfig
from .....models.sdxl.attention_layers import number_attention_layers
from ..errors import ModelMismatchError
from ..layer_call import Block

# Self-attention and cross-attention of a transformer block, as ComfyUI calls them.
Layer = Literal["attn1", "attn2"]


def adapted_blocks(model: Any, config: IFAdapterConfig) -> dict[Block, int]:
    """ComfyUI's attn2 keys of the adapter's layers -> official processor numbers.

    A key is the kind of block ("input", "middle", "output"), its number, and the transformer block in it.

    `model` is the ModelPatcher of an SDXL UNet. Raises `ModelMismatchError` for another architecture, or if
    a layer of the adapter is absent or has another size.
    """
    if not isinstance(model.model, comfy.model_base.SDXL):
        name = type(model.model.model_config).__name__
        raise ModelMismatchError(
            f"This MODEL is {name}. An IFAdapter works with SDXL alone: SDXL base, checkpoints trained from "
            "it and inpainting SDXL (not the refiner). Load an SDXL checkpoint."
        )
    places = attention_layers(model.get_model_object("diffusion_model"))
    absent = [number for number in config.layers if number not in places]
    if absent:
        raise ModelMismatchError(
            f"This UNet has {len(places)} cross-attention layers and lacks {len(absent)} of the "
            f"{len(config.layers)} that the adapter was trained for (numbers {', '.join(map(str, absent))}). "
            "A distilled SDXL (SSD-1B, Vega, KOALA) has fewer layers; use a full SDXL checkpoint."
        )
    for number, width in config.layers.items():
        block, attention = places[number]
        _check_size(block, attention, width, config)
    return {places[number][0]: number for number in config.layers}


def attention_layers(unet: Any) -> dict[int, tuple[Block, nn.Module]]:
    """Official number -> ComfyUI's key and the attn2 module."""
    stages = {
        "down": list(_transformers("input", unet.input_blocks)),
        "up": list(_transformers("output", unet.output_blocks)),
        "mid": list(_transformers("middle", [unet.middle_block] if unet.middle_block is not None else [])),
    }
    depths = {stage: [len(t.transformer_blocks) for _, _, t in found] for stage, found in stages.items()}
    numbers = number_attention_layers(depths["down"], depths["up"], sum(depths["mid"]))
    layers: dict[int, tuple[Block, nn.Module]] = {}
    for number, place in numbers.items():
        name, index, transformer = stages[place.stage][place.position]
        layers[number] = (
            (name, index, place.transformer_block),
            transformer.transformer_blocks[place.transformer_block].attn2,
        )
    return layers


def cross_attention_blocks(unet: Any) -> tuple[Block, ...]:
    """ComfyUI's keys of all cross-attention layers of a UNet, SDXL's or another's."""
    return tuple(
        (name, index, number)
        for name, index, transformer in _every_transformer(unet)
        for number, block in enumerate(transformer.transformer_blocks)
        if getattr(block, "attn2", None) is not None
    )


def transformer_block(unet: Any, block: Block) -> BasicTransformerBlock:
    """The transformer block of a ComfyUI key."""
    name, index, number = block
    stage = [unet.middle_block] if name == "middle" else getattr(unet, f"{name}_blocks")
    return [m for m in stage[index].modules() if isinstance(m, BasicTransformerBlock)][number]


def preferred_attentions(unet: Any, layer: Layer = "attn2") -> Mapping[Block, Any]:
    """The attention that a checkpoint may choose for a layer: those of all that can have one.

    ComfyUI's from 0.40 can. `layer` is self-attention, attn1, or cross-attention. The modules are looked up
    once for a UNet.
    """
    known = _preferred.setdefault(unet, {})
    if layer not in known:
        chosen = {
            (name, index, number): getattr(getattr(block, layer, None), "comfy_attention", None)
            for name, index, transformer in _every_transformer(unet)
            for number, block in enumerate(transformer.transformer_blocks)
        }
        known[layer] = {block: own for block, own in chosen.items() if own is not None}
    return known[layer]


_preferred: WeakKeyDictionary[Any, dict[Layer, Mapping[Block, Any]]] = WeakKeyDictionary()


def _every_transformer(unet: Any) -> Iterable[tuple[str, int, Any]]:
    yield from _transformers("input", unet.input_blocks)
    yield from _transformers("middle", [unet.middle_block] if unet.middle_block is not None else [])
    yield from _transformers("output", unet.output_blocks)


def _transformers(name: str, blocks: Iterable[nn.Module]) -> Iterable[tuple[str, int, Any]]:
    for index, block in enumerate(blocks):
        for module in block.modules():
            if isinstance(module, SpatialTransformer):
                yield name, index, module


def _check_size(block: Block, attention: Any, width: int, config: IFAdapterConfig) -> None:
    found = (attention.heads, attention.dim_head, attention.to_k.in_features)
    asked = (width // config.head_dim, config.head_dim, config.text_width)
    if found != asked:
        raise ModelMismatchError(
            f"The adapter does not fit this UNet: {block[0]} block {block[1]} has {found[0]} heads of "
            f"{found[1]} on text of width {found[2]}, the adapter was trained for {asked[0]} heads of "
            f"{asked[1]} on text of width {asked[2]}."
        )
