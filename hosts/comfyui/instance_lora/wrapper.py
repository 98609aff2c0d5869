"""The wrapper on a MODEL that lets LoRAs act where their instances are.

For the time of one call of the UNet its layers get hooks that add to their outputs; nothing of the model is
changed, so that other MODELs made of it, and the next call, find it as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from comfy.ldm.modules.attention import SpatialTransformer
from torch import Tensor

from ....layout import Layout
from ....models.attention.seeing import owners
from ....models.instance_lora.delta import LowRankDelta, add_to_cells, add_to_rows
from ....models.regions import Regions
from ..attention.compiled import PlainRuns
from ..attention.errors import UnexplainedRowsError
from ..attention.layer_call import Block
from ..attention.parts import is_part
from ..attention.run_cache import RunCache
from ..attention.unet.call import options_of, over_patches, with_options
from ..attention.unet.layers import cross_attention_blocks, preferred_attentions, transformer_block
from ..attention.unet.patch import Attention, plain_attention
from .reading import ReadLora

NODE = "LoRA for Instance"
TEXT_LAYERS = ("attn2.to_k", "attn2.to_v")
PART_SAMPLED = (
    f"{NODE} knows where its instance is in the whole picture, but a part of it is being sampled by itself: "
    "a prompt with an area, context windows over height or width, or another pack's tiles. Take those off, "
    "or the LoRA."
)


@dataclass(frozen=True, eq=False)
class InstanceLora:
    """A LoRA with the instance it is for: `index` among the regions of a layout, in stacking order."""

    lora: ReadLora
    layout: Layout
    regions: Regions
    index: int
    strength: float


class LoraWrappers:
    """The wrappers of one MODEL with all LoRAs for instances that it has."""

    def __init__(self, loras: Sequence[InstanceLora]) -> None:
        self.loras = tuple(loras)
        self.cache = RunCache()
        self._plain = PlainRuns()
        self._whole: tuple[int, int] | None = None

    def on_conditionings(
        self, executor: Any, model: Any, conds: Any, latent: Tensor, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """CALC_COND_BATCH: notes the size of the whole picture's latent."""
        if is_part(args[0] if args else kwargs["model_options"], latent):
            raise UnexplainedRowsError(PART_SAMPLED)
        self._whole = (latent.shape[-2], latent.shape[-1])
        with self._plain.run(model):
            return executor(model, conds, latent, sigmas, *args, **kwargs)

    def on_diffusion_model(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """DIFFUSION_MODEL: runs the UNet with the LoRAs."""
        latent = args[0]
        if self._whole not in (None, (latent.shape[-2], latent.shape[-1])):
            raise UnexplainedRowsError(PART_SAMPLED)
        running = executor.class_obj
        call = LoraCall(self.loras, running, self.cache)
        options = over_patches("attn2", options_of(args, kwargs), call.text_blocks(), call.patch)
        args, kwargs = with_options(args, kwargs, options)
        with call.installed():
            return executor(*args, **kwargs)

    def on_cleanup(self, *_: Any) -> None:
        """After a sampling run: nothing stays on the device."""
        self.cache.clear()
        self._whole = None


class LoraCall:
    """One call of the UNet: hooks on its layers, and what they hand to one another."""

    def __init__(self, loras: Sequence[InstanceLora], unet: Any, cache: RunCache) -> None:
        self._loras, self._unet, self._cache = loras, unet, cache
        self._grid = (0, 0)
        # What LoRAs add to keys and values of the text, by layer: (B, tokens, width).
        self._texts: dict[str, dict[InstanceLora, Tensor]] = {}
        self._below = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Inside the block the UNet's layers are changed."""
        handles: list[Any] = []
        try:
            for module in self._unet.modules():
                if isinstance(module, SpatialTransformer):
                    handles.append(module.register_forward_pre_hook(self._enter))
            for layer in dict.fromkeys(name for one in self._loras for name in one.lora.deltas):
                hook = self._hook(layer)
                handles.append(self._unet.get_submodule(layer).register_forward_hook(hook))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def text_blocks(self) -> Iterable[Block]:
        """Keys of the cross-attention layers whose reading of the text changes."""
        changed = {
            layer.rpartition(".attn2.")[0]
            for one in self._loras
            for layer in one.lora.deltas
            if layer.endswith(TEXT_LAYERS)
        }
        return [block for block, name in self._names().items() if name in changed]

    def patch(self, base: Attention | None, block: Block) -> Attention:
        """The attn2 patch of a block over the one found there."""
        name = self._names()[block]
        plain = partial(plain_attention, preferred=preferred_attentions(self._unet).get(block))

        def attend(query: Tensor, key: Tensor, value: Tensor, extra_options: dict[str, Any]) -> Tensor:
            found = [self._texts.pop(f"{name}.{layer}", {}) for layer in TEXT_LAYERS]
            # Below, captions may go through the same layers (Draw Regions, silhouettes), which are no prompt.
            self._below = True
            attended = (base or plain)(query, key, value, extra_options)
            self._below = False
            grid = tuple(extra_options["activations_shape"][-2:])
            for index, regions in dict.fromkeys((one.index, one.regions) for one in self._loras):
                own = [one for one in self._loras if (one.index, one.regions) == (index, regions)]
                rows = self._rows(own[0], grid, query)
                if not len(rows) or not any(one in texts for texts in found for one in own):
                    continue
                new_key, new_value = (
                    whole + sum(texts[one] for one in own if one in texts)
                    for whole, texts in zip((key, value), found, strict=True)
                )
                part = query.index_select(1, rows)
                more = plain(part, new_key, new_value, extra_options)
                less = plain(part, key, value, extra_options)
                attended = attended.index_add(1, rows, (more - less).to(attended))
            return attended

        return attend

    def _names(self) -> dict[Block, str]:
        """Names of the transformer blocks by ComfyUI's key."""

        def names() -> dict[Block, str]:
            known = {module: name for name, module in self._unet.named_modules()}
            blocks = cross_attention_blocks(self._unet)
            return {block: known[transformer_block(self._unet, block)] for block in blocks}

        return self._cache.get(("names", self._unet), names)

    def _enter(self, _module: Any, inputs: tuple[Any, ...]) -> None:
        self._grid = (inputs[0].shape[-2], inputs[0].shape[-1])

    def _hook(self, layer: str) -> Any:
        own = [one for one in self._loras if layer in one.lora.deltas]

        def on_text(_module: Any, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
            if not self._below:
                deltas = {one: self._delta(one, layer, outputs) for one in own}
                self._texts[layer] = {one: delta.of_rows(inputs[0]) for one, delta in deltas.items()}

        def on_map(module: Any, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
            grid = (outputs.shape[-2], outputs.shape[-1])
            for one in own:
                cells = self._cells(one, grid, outputs)
                outputs = add_to_cells(outputs, inputs[0], cells, self._delta(one, layer, outputs), module)
            return outputs

        def on_rows(_module: Any, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
            if outputs.shape[1] != self._grid[0] * self._grid[1]:
                raise UnexplainedRowsError(
                    f"{NODE} found {outputs.shape[1]} tokens in a layer of {self._grid[0]} × {self._grid[1]} "
                    "places. Another node on this MODEL merges or tiles them (ToMe, HyperTile); take it off."
                )
            for one in own:
                rows = self._rows(one, self._grid, outputs)
                outputs = add_to_rows(outputs, inputs[0], rows, self._delta(one, layer, outputs))
            return outputs

        if layer.endswith(TEXT_LAYERS):
            return on_text
        return on_map if isinstance(self._unet.get_submodule(layer), torch.nn.Conv2d) else on_rows

    def _delta(self, one: InstanceLora, layer: str, like: Tensor) -> LowRankDelta:
        delta = one.lora.deltas[layer]

        def make() -> LowRankDelta:
            return replace(delta, scale=delta.scale * one.strength).to(like)

        return self._cache.get((one, layer, like.device, like.dtype), make)

    def _cells(self, one: InstanceLora, grid: tuple[int, int], like: Tensor) -> Tensor:
        """The cells that are the instance's own (height, width; bool): where it is the topmost."""

        def make() -> Tensor:
            placement = one.regions.place(grid)
            if placement is None:
                return torch.zeros(grid, dtype=torch.bool, device=like.device)
            return (owners(placement.covered.flatten(1)) == one.index).view(grid).to(like.device)

        return self._cache.get(("cells", one.regions, one.index, grid, like.device), make)

    def _rows(self, one: InstanceLora, grid: tuple[int, int], like: Tensor) -> Tensor:
        return self._cache.get(
            ("rows", one.regions, one.index, grid, like.device),
            lambda: self._cells(one, grid, like).flatten().nonzero()[:, 0],
        )
