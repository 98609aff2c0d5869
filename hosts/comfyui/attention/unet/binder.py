"""Binder of UNets: groups act in cross-attention, through attn2 patches made at call time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ..layer_call import Block, Group, ModelCall
from .call import options_of, over_attn2, text_rows, with_options
from .layers import cross_attention_blocks, preferred_attentions
from .patch import Attention, AttentionPatch


class UNetBinder:
    """The binder of every model whose diffusion model is ComfyUI's `UNetModel`."""

    def serves(self, model: Any) -> bool:
        return isinstance(model.get_model_object("diffusion_model"), UNetModel)

    def options(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return options_of(args, kwargs)

    def with_options(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return with_options(args, kwargs, options)

    def text_rows(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        return text_rows(args, kwargs)

    def text_blocks(self, model: Any) -> Collection[Block]:
        return cross_attention_blocks(model.get_model_object("diffusion_model"))

    def patched(self, options: dict[str, Any], groups: Sequence[Group], call: ModelCall) -> dict[str, Any]:
        preferred = {} if call.running is None else preferred_attentions(call.running)

        def patch(base: Attention | None, block: Block) -> Attention:
            here = tuple(group for group in groups if block in group.blocks)
            return AttentionPatch(base, block, here, call, preferred.get(block))

        return over_attn2(options, (block for group in groups for block in group.blocks), patch)
