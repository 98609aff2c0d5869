"""The published instance attention installed as plain attn2 replace patches: a second way to every number.

It guesses rows by their place in `cond_or_uncond` and knows one prompt for each, so it serves the simple
cases; the pack has to agree with it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from published_ifadapter import published_term
from torch import Tensor

from instance_composer.hosts.comfyui.attention.unet.layers import adapted_blocks
from instance_composer.models.ifadapter import IFAdapter


def with_reference(
    model: Any, adapter: IFAdapter, prompts: Mapping[int, list[tuple[Tensor, Tensor]]], strength: float = 1.0
) -> Any:
    """A clone of the MODEL; `prompts` maps labels of `cond_or_uncond` to the (tokens, boxes) added there."""
    model = model.clone()
    for (name, index, block), number in adapted_blocks(model, adapter.config).items():
        patch = _patch(adapter.attention[number], prompts, strength)
        model.set_model_attn2_replace(patch, name, index, block)
    return model


def _patch(layer: Any, prompts: Mapping[int, list[tuple[Tensor, Tensor]]], strength: float) -> Any:
    def attend(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Tensor:
        out = optimized_attention(query, key, value, options["n_heads"])
        grid = tuple(options["activations_shape"][-2:])
        labels = options["cond_or_uncond"]
        rows = len(query) // len(labels)
        for chunk, label in enumerate(labels):
            for row in range(chunk * rows, (chunk + 1) * rows):
                for tokens, boxes in prompts.get(label, ()):
                    term = published_term(layer, query[row : row + 1], tokens, boxes, [len(boxes)], grid)
                    out[row] += strength * term[0]
        return out

    return torch.no_grad()(attend)
