"""Binder of UNets: groups act in cross-attention, through attn2 patches made at call time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..layer_call import Block, Group, ModelCall
from ..placed import PlacedGroup
from ..text import Text
from .call import options_of, over_patches, text_rows, with_options
from .isolation import IsolatingPatch
from .layers import cross_attention_blocks, preferred_attentions
from .patch import Attention, AttentionPatch
from .presets import preset_blocks


class UNetBinder:
    """The binder of every model whose diffusion model is ComfyUI's `UNetModel`."""

    wrapper = WrappersMP.DIFFUSION_MODEL

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

    def following(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[Any]:
        # Blocks tell their patches which they are.
        return nullcontext()

    def reached(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        # Blocks ask for their patches, whoever computes attention.
        return True

    def text_blocks(self, model: Any) -> Collection[Block]:
        return cross_attention_blocks(model.get_model_object("diffusion_model"))

    def layers(self, model: Any, preset: str) -> tuple[Block, ...]:
        return preset_blocks(model, preset)

    def padding(self, text: Tensor) -> int:
        return 0

    def beside(self, arguments: Mapping[str, Any]) -> int:
        return 0

    def tokens(self, text: Tensor, values: Mapping[str, Any], model_options: Mapping[str, Any]) -> int:
        return Text.of(text, model_options).tokens

    def patched(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], groups: Sequence[Group], call: ModelCall
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        preferred = {} if call.running is None else preferred_attentions(call.running)

        def patch(base: Attention | None, block: Block) -> Attention:
            here = tuple(group for group in groups if block in group.blocks)
            return AttentionPatch(base, block, here, call, preferred.get(block))

        blocks = (block for group in groups for block in group.blocks)
        options = over_patches("attn2", options_of(args, kwargs), blocks, patch)
        isolated = [one for one in groups if isinstance(one, PlacedGroup) and one.placed.isolated]
        if isolated:
            chosen = {} if call.running is None else preferred_attentions(call.running, "attn1")

            def alone(base: Attention | None, block: Block) -> Attention:
                here = [one for one in isolated if block in one.blocks]
                return IsolatingPatch(base, here, call, chosen.get(block))

            every = (block for one in isolated for block in one.blocks)
            options = over_patches("attn1", options, every, alone)
        return with_options(args, kwargs, options)
