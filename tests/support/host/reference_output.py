"""The published term added after the layer: a way to the same numbers that uses none of the pack's hooks.

`to_out` is linear, so adding a term before it is adding `W_out · term` behind it. Here the query comes from a
hook on the layer norm, before any pack repeats rows, and the sum is made by an attn2 output patch, after any
pack has folded them: whatever another pack does between the two is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import SpatialTransformer
from published_ifadapter import published_term
from torch import Tensor

from instance_composer.hosts.comfyui.attention.unet.layers import adapted_blocks
from instance_composer.models.ifadapter import IFAdapter


@contextmanager
def reference_output(
    model: Any, adapter: IFAdapter, prompts: Mapping[int, tuple[Tensor, Tensor]], strength: float = 1.0
) -> Iterator[Any]:
    """A clone of the MODEL, valid inside; `prompts` maps labels of `cond_or_uncond` to (tokens, boxes)."""
    numbers = adapted_blocks(model, adapter.config)
    blocks = {place: _transformer_block(model, place) for place in numbers}
    normed: dict[Any, Tensor] = {}
    hooks = [
        block.norm2.register_forward_hook(lambda _, __, out, place=place: normed.__setitem__(place, out))
        for place, block in blocks.items()
    ]

    def add(out: Tensor, options: dict[str, Any]) -> Tensor:
        place = (*options["block"], options["block_index"])
        if place not in blocks:
            return out
        attention = blocks[place].attn2
        query, labels = attention.to_q(normed[place]), options["cond_or_uncond"]
        term = _term(adapter.attention[numbers[place]], query, labels, prompts, options["activations_shape"])
        return out + strength * F.linear(term, attention.to_out[0].weight)

    model = model.clone()
    model.set_model_attn2_output_patch(add)
    try:
        yield model
    finally:
        for hook in hooks:
            hook.remove()


def _term(
    layer: Any, query: Tensor, labels: list[int], prompts: Mapping[int, tuple[Tensor, Tensor]], shape: Any
) -> Tensor:
    rows = len(query) // len(labels)
    term = torch.zeros_like(query)
    for row in range(len(query)):
        tokens, boxes = prompts[labels[row // rows]]
        grid = tuple(shape[-2:])
        term[row] = published_term(layer, query[row : row + 1], tokens, boxes, [len(boxes)], grid)[0]
    return term


def _transformer_block(model: Any, place: tuple[str, int, int]) -> Any:
    name, index, block = place
    unet = model.get_model_object("diffusion_model")
    stage = unet.middle_block if name == "middle" else getattr(unet, f"{name}_blocks")[index]
    (transformer,) = (module for module in stage.modules() if isinstance(module, SpatialTransformer))
    return transformer.transformer_blocks[block]
