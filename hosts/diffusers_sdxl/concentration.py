"""Attribute concentration on a diffusers SDXL UNet: its attention read, moved, and followed to the latent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from ...models.attention.probabilities import token_probabilities
from ...models.concentration import LocalGuidance, Targets, concentrate
from ...models.concentration.energy import LATENT_STEP, LOSS_SCALES, Objective, unit_step
from ...models.sdxl.layer_presets import check_preset
from .layer_hooks import BatchRows, LayerInputs, visiting


class _EnoughError(Exception):
    """Every layer that was to be read has been."""


def preset_layers(unet: UNet2DConditionModel, preset: str = "middle and decoder") -> list[str]:
    """Names of a preset's cross-attention layers, in the order in which they run.

    "middle and decoder" are those CoMat trains with, "coarse" and "fine" the wider and the narrower of them,
    "all" adds the encoder. ValueError for another name.
    """
    check_preset(preset)
    # torch.compile puts a module around the UNet, whose name would be in every layer's.
    unet = getattr(unet, "_orig_mod", unet)
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
    active: Callable[[], tuple[bool, ...]] | None = None,
) -> Iterator[None]:
    """Concentrate the attention of these rows of the UNet's batch inside the `with` block.

    `rows` are the conditional ones: with guidance and one picture, row 1 of two. `layers` as `preset_layers`
    names them. `active` says of each entity whether it acts at this step, without it all do. Afterwards the
    UNet is exactly as it was; at strength 0, and where no entity acts, nothing is computed.
    """
    chosen = BatchRows(rows)

    def visit(layer: LayerInputs) -> Tensor | None:
        acting = None if active is None else active()
        if acting is not None and not any(acting):
            return None
        query, key, value = (chosen.of(x) for x in (layer.query, layer.key, layer.value))
        inputs = (query, key, value)
        # Not what goes into the output projection: an adapter may have added its own to that.
        plain = _plain_attention(*inputs, layer.heads)
        moved = concentrate(*inputs, plain, layer.heads, targets, layer.grid, guidance, acting)
        added = torch.zeros_like(layer.attended)
        chosen.put(added, moved)
        return added

    with visiting(unet, (layers or preset_layers(unet)) if guidance.strength else [], visit):
        yield


@contextmanager
def record_attention(unet: UNet2DConditionModel, layers: Sequence[str]) -> Iterator[list[Tensor]]:
    """Inside the `with` block, the attention (B, heads, h, w, T) of each layer as it runs; differentiable."""
    maps: list[Tensor] = []
    with visiting(unet, layers, lambda layer: maps.append(_attention(layer))):
        yield maps


@contextmanager
def record_projections(unet: UNet2DConditionModel, layers: Sequence[str]) -> Iterator[list[LayerInputs]]:
    """Inside the `with` block, each layer's query and key as it runs; `probabilities_of` makes maps of them.

    Nothing is computed inside the UNet, so gradient checkpointing of its non-reentrant kind, which runs a
    layer once more in the backward pass and compares what it saves, works with it.
    """
    seen: list[LayerInputs] = []
    with visiting(unet, layers, seen.append):
        yield seen


def probabilities_of(layer: LayerInputs, tokens: Sequence[int]) -> Tensor:
    """The attention (B, heads, h, w, n) that n tokens get in one call of a layer; differentiable."""
    return token_probabilities(layer.query, layer.key, layer.heads, tokens).unflatten(2, layer.grid)


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
    """The change of the noise prediction that guides the latent, shaped like `sample` (B, C, h, w).

    `sample`, `prompt` (B, T, D) and `added_conditions` are those of the conditional rows alone. The step is
    LATENT_STEP times strength along the normalised gradient of each picture's energy, times its distance:
    classifier guidance (arXiv 2105.05233) with the energy for a classifier. The UNet runs up to the last of
    `layers`; with gradient checkpointing to its end, for less memory. Nothing is computed where no entity is
    active.
    """
    if not any(active):
        return torch.zeros_like(sample)
    names = list(layers or preset_layers(unet))
    call = (sample, timestep, prompt, added_conditions)
    gradient = distance = torch.zeros(())
    for scale in LOSS_SCALES:
        gradient, distance = _gradient(unet, objective, call, active, names, gradient_checkpointing, scale)
        if gradient.isfinite().all():
            break
    return -LATENT_STEP * strength * unit_step(gradient, distance)


def _gradient(
    unet: UNet2DConditionModel,
    objective: Objective,
    call: tuple[Tensor, Tensor | float, Tensor, dict[str, Tensor]],
    active: tuple[bool, ...],
    names: Sequence[str],
    gradient_checkpointing: bool,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """The gradient (B, C, h, w) of the energy times `scale`, and each picture's distance (B,).

    `call` is sample, timestep, prompt and added conditions, as `move_noise` takes them.
    """
    sample, timestep, prompt, added_conditions = call
    maps: list[Tensor] = []
    closed = False

    def visit(layer: LayerInputs) -> None:
        found = _attention(layer)
        if closed:
            return  # a checkpoint runs the layer again
        maps.append(found)
        if len(maps) == len(names) and not gradient_checkpointing:
            raise _EnoughError

    with torch.enable_grad(), visiting(unet, names, visit), _checkpointing(unet, gradient_checkpointing):
        leaf = sample.detach().clone().requires_grad_()
        with suppress(_EnoughError):
            unet(leaf, timestep, prompt, added_cond_kwargs=added_conditions)
        closed = True
        rows = [objective([one[row] for one in maps], active) for row in range(len(sample))]
        (gradient,) = torch.autograd.grad(scale * torch.stack([row.value for row in rows]).sum(), leaf)
    return gradient, torch.stack([row.distance for row in rows])


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _attention(layer: LayerInputs) -> Tensor:
    return token_probabilities(layer.query, layer.key, layer.heads).unflatten(2, layer.grid)


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
