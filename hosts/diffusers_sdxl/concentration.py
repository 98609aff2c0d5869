"""Attribute concentration on a diffusers SDXL UNet: its attention read, moved, and followed to the latent.

As with an IFAdapter, hooks on a layer's own projections read the query, key and value and change the input of
the output projection, so the attention processors stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ...models.attention.probabilities import token_probabilities
from ...models.concentration import LocalGuidance, Targets, concentrate
from ...models.concentration.energy import LATENT_STEP, Objective, unit_step
from ...models.sdxl.layer_presets import check_preset

Grid = tuple[int, int]


class _LayerInputs(NamedTuple):
    """Query (B, L, C), key and value (B, T, C), plain attention (B, L, C) of a layer; its heads and grid."""

    query: Tensor
    key: Tensor
    value: Tensor
    attended: Tensor
    heads: int
    grid: Grid


# What a layer is given -> what is added to its attention, None for nothing.
_Visit = Callable[[_LayerInputs], "Tensor | None"]


class _EnoughError(Exception):
    """Every layer that was to be read has been."""


def preset_layers(unet: UNet2DConditionModel, preset: str = "middle and decoder") -> list[str]:
    """Names of a preset's cross-attention layers, in the order in which they run.

    "middle and decoder" are those CoMat trains with, "coarse" and "fine" the wider and the narrower of them,
    "all" adds the encoder. ValueError for another name.
    """
    check_preset(preset)
    names = [name for name, _ in unet.named_modules() if name.endswith(".attn2")]
    stages = ("down_blocks", "mid_block", "up_blocks")
    names.sort(key=lambda name: stages.index(name.partition(".")[0]))
    if preset == "all":
        return names
    names = [name for name in names if not name.startswith("down_blocks")]
    if preset == "middle and decoder":
        return names
    modules: dict[str, Any] = {name: unet.get_submodule(name) for name in names}
    widths: dict[str, int] = {name: module.inner_dim for name, module in modules.items()}
    coarse = max(widths.values())
    return [name for name in names if (widths[name] == coarse) == (preset == "coarse")]


@contextmanager
def attach_concentration(
    unet: UNet2DConditionModel,
    targets: Targets,
    guidance: LocalGuidance,
    rows: Sequence[int],
    layers: Sequence[str] | None = None,
) -> Iterator[None]:
    """Concentrate the attention of these rows of the UNet's batch inside the `with` block.

    `rows` are the conditional ones: with guidance and one picture, row 1 of two. `layers` as `preset_layers`
    names them. Afterwards the UNet is exactly as it was; at strength 0 nothing is computed.
    """
    chosen = list(rows)

    def visit(layer: _LayerInputs) -> Tensor:
        inputs = (layer.query[chosen], layer.key[chosen], layer.value[chosen])
        # Not what goes into the output projection: an adapter may have added its own to that.
        plain = _plain_attention(*inputs, layer.heads)
        moved = concentrate(*inputs, plain, layer.heads, targets, layer.grid, guidance)
        added = torch.zeros_like(layer.attended)
        added[chosen] = moved.to(added.dtype)
        return added

    with _visiting(unet, (layers or preset_layers(unet)) if guidance.strength else [], visit):
        yield


@contextmanager
def record_attention(unet: UNet2DConditionModel, layers: Sequence[str]) -> Iterator[list[Tensor]]:
    """Inside the `with` block, the attention (B, heads, h, w, T) of each layer as it runs; differentiable."""
    maps: list[Tensor] = []
    with _visiting(unet, layers, lambda layer: maps.append(_attention(layer))):
        yield maps


def move_noise(
    unet: UNet2DConditionModel,
    objective: Objective,
    strength: float,
    sample: Tensor,
    timestep: Tensor | float,
    prompt: Tensor,
    added_conditions: dict[str, Tensor],
    active: tuple[bool, ...],
    layers: Sequence[str] | None = None,
    gradient_checkpointing: bool = False,
) -> Tensor:
    """What guidance of the latent adds to the noise prediction, shaped like `sample` (B, C, h, w).

    `sample`, `prompt` (B, T, D) and `added_conditions` are those of the conditional rows alone. The step is
    LATENT_STEP times strength along the normalised gradient of each picture's energy, times its distance:
    classifier guidance (arXiv 2105.05233) with the energy for a classifier. The UNet runs up to the last of
    `layers`; with gradient checkpointing to its end, for less memory.
    """
    names = list(layers or preset_layers(unet))
    maps: list[Tensor] = []
    closed = False

    def visit(layer: _LayerInputs) -> None:
        found = _attention(layer)
        if closed:
            return  # a checkpoint runs the layer again
        maps.append(found)
        if len(maps) == len(names) and not gradient_checkpointing:
            raise _EnoughError

    with torch.enable_grad(), _visiting(unet, names, visit), _checkpointing(unet, gradient_checkpointing):
        leaf = sample.detach().clone().requires_grad_()
        with suppress(_EnoughError):
            unet(leaf, timestep, prompt, added_cond_kwargs=added_conditions)
        closed = True
        rows = [objective([one[row] for one in maps], active) for row in range(len(sample))]
        (gradient,) = torch.autograd.grad(torch.stack([row.value for row in rows]).sum(), leaf)
    return -LATENT_STEP * strength * unit_step(gradient, torch.stack([row.distance for row in rows]))


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _attention(layer: _LayerInputs) -> Tensor:
    tokens = range(layer.key.shape[1])
    return token_probabilities(layer.query, layer.key, layer.heads, tokens).unflatten(2, layer.grid)


@contextmanager
def _checkpointing(unet: UNet2DConditionModel, wanted: bool) -> Iterator[None]:
    if not wanted or unet.is_gradient_checkpointing:
        yield
        return
    unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        unet.disable_gradient_checkpointing()


@contextmanager
def _visiting(unet: UNet2DConditionModel, names: Sequence[str], visit: _Visit) -> Iterator[None]:
    with ExitStack() as hooks:
        for name in names:
            attention: Any = unet.get_submodule(name)
            transformer = unet.get_submodule(name.partition(".transformer_blocks.")[0])
            visitor = _Visitor(attention.heads, visit)
            for handle in (
                transformer.register_forward_pre_hook(visitor.note_grid, with_kwargs=True),
                attention.to_q.register_forward_hook(visitor.note),
                attention.to_k.register_forward_hook(visitor.note),
                attention.to_v.register_forward_hook(visitor.note),
                attention.to_out[0].register_forward_pre_hook(visitor.act),
            ):
                hooks.callback(handle.remove)
        yield


class _Visitor:
    """Carries a layer's grid and projections from where they are made to where its attention is ready."""

    def __init__(self, heads: int, visit: _Visit) -> None:
        self.heads = heads
        self.visit = visit
        self.grid: Grid = (0, 0)
        self.projections: list[Tensor] = []

    def note_grid(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        height, width = (args[0] if args else kwargs["hidden_states"]).shape[-2:]
        self.grid = (height, width)

    def note(self, _: nn.Module, args: tuple[Any, ...], projected: Tensor) -> None:
        self.projections.append(projected)

    def act(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        # Processors project the query first, then key and value.
        query, key, value = self.projections
        self.projections = []
        added = self.visit(_LayerInputs(query, key, value, args[0], self.heads, self.grid))
        return None if added is None else (args[0] + added, *args[1:])
