"""An IFAdapter on a diffusers SDXL UNet, for the duration of a `with` block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from ...models.ifadapter import (
    Gate,
    IFAdapter,
    InstancePrompt,
    StackedPrompts,
    prompts_semantic_map,
)
from ...models.regions import Placement, Regions
from .errors import UnsuitableModelError
from .layer_hooks import BatchRows, Grid, LayerInputs, visiting

# Number, query (B, L, C) and grid of a layer -> the term (B, L, C), None where nothing is to be added.
Term = Callable[[int, Tensor, Grid], "Tensor | None"]


class Attachment:
    """The instances attached to a UNet.

    Set `progress`, 0 at the beginning of sampling and 1 at its end, before each step: it decides which
    instances act. Those that do not act cost nothing. It is a fraction of the steps, as the authors' is; in
    ComfyUI start and end are fractions of the noise schedule, so there a step near them may fall on the other
    side.
    """

    def __init__(
        self, gates: Mapping[int, Gate], rows: Sequence[InstancePrompt | None], strength: float = 1.0
    ) -> None:
        self._progress = 0.0
        self._placed: dict[tuple[Grid, torch.device], list[_Placed]] = {}
        self._gates = gates
        self._rows = len(rows)
        self._strength = strength
        # Rows that share their regions share their placement, so they are computed together.
        shared: dict[int, dict[int, InstancePrompt]] = {}
        for row, prompt in enumerate(rows):
            if prompt is not None:
                shared.setdefault(id(prompt.regions), {})[row] = prompt
        self._groups = [_Group(prompts) for prompts in shared.values()]

    @property
    def progress(self) -> float:
        """How far sampling is."""
        return self._progress

    @progress.setter
    def progress(self, progress: float) -> None:
        self._progress = progress
        # Which instances act, and so where they are placed, is the same for all layers of a step.
        self._placed.clear()

    def term(self, number: int, query: Tensor, grid: Grid) -> Tensor | None:
        """The addition to a layer at the present progress: query (B, L, C) -> (B, L, C), None for nothing."""
        _check_rows(self._rows, query)
        key = (grid, query.device)
        if key not in self._placed:
            self._placed[key] = self._place(*key)
        out = None
        for rows, prompts, placement in self._placed[key]:
            own = prompts_semantic_map(rows.of(query), prompts, number, self._gates[number], placement)
            own = own if self._strength == 1.0 else self._strength * own
            if len(own) == len(query):
                return own
            out = torch.zeros_like(query) if out is None else out
            rows.put(out, own)
        return out

    def _place(self, grid: Grid, device: torch.device) -> list[_Placed]:
        placed: list[_Placed] = []
        for group in self._groups:
            placement = group.regions.place(grid, group.regions.active(self._progress), device)
            if placement is not None:
                placed.append(_Placed(group.rows, group.on(device), placement))
        return placed


class _Placed(NamedTuple):
    """The rows that share their regions, their prompts, and the instances that act, on a grid."""

    rows: BatchRows
    prompts: StackedPrompts
    placement: Placement


class _Group:
    """The rows that share their regions, and their prompts stacked once per device."""

    def __init__(self, prompts: Mapping[int, InstancePrompt]) -> None:
        self.rows = BatchRows(list(prompts))
        self.regions: Regions = next(iter(prompts.values())).regions
        self._prompts = list(prompts.values())
        self._stacked: dict[torch.device, StackedPrompts] = {}

    def on(self, device: torch.device) -> StackedPrompts:
        if device not in self._stacked:
            self._stacked[device] = StackedPrompts.kept(self._prompts, device)
        return self._stacked[device]


@contextmanager
def attach_ifadapter(
    unet: UNet2DConditionModel,
    adapter: IFAdapter,
    tokens: Tensor,
    boxes: Tensor,
    counts: Sequence[int],
    scale: float = 1.0,
) -> Iterator[None]:
    """Add `adapter` to `unet` inside the `with` block; afterwards the UNet is exactly as it was.

    tokens (P, N, D) and boxes (P, 4) belong to the instances of all rows of the UNet's batch end to end,
    `counts` instances each, in row order (with guidance usually the unconditional rows first). Gradients flow
    to the tokens, the adapter and the UNet; with gradient checkpointing, run the backward pass inside the
    block. LoRAs loaded before the block take part, do not load or unload them inside it. `scale` 0 computes
    nothing.

    Raises `UnsuitableModelError` if the UNet is not the SDXL the adapter was made for.
    """
    counts = list(counts)
    if sum(counts) != len(tokens) or len(boxes) != len(tokens):
        raise ValueError(
            f"counts {counts} add up to {sum(counts)} instances, but there are {len(tokens)} sets of tokens "
            f"and {len(boxes)} boxes; there must be as many of each"
        )
    layers = find_adapted_layers(unet, adapter)
    attention, rectangles = adapter.attention, boxes.tolist()
    placements: dict[Grid, Placement] = {}

    def term(number: int, query: Tensor, grid: Grid) -> Tensor:
        _check_rows(len(counts), query)
        if grid not in placements:
            placements[grid] = Placement.of_boxes(rectangles, counts, grid, query.device)
        return scale * attention[number].placed(query, tokens, placements[grid])

    with _adding(unet, layers if scale else [], term):
        yield


@contextmanager
def attach_prompts(
    unet: UNet2DConditionModel,
    gates: Mapping[int, Gate],
    rows: Sequence[InstancePrompt | None],
    scale: float = 1.0,
) -> Iterator[Attachment]:
    """As `attach_ifadapter`, for sampling: one `InstancePrompt` (or None) per row of the UNet's batch.

    Prompts and gates come from `IFAdapter.prompt` and `IFAdapter.gates`, on the device the UNet runs on; the
    adapter itself is not needed any more. Keys and values are not computed again, rows that share one
    `Regions` object are computed together, masks, strengths and windows of the regions are honoured. Set
    `progress` of the attachment before each step.

    Raises `UnsuitableModelError` if the UNet is not the SDXL the adapter was made for.
    """
    sizes = {
        number: _Sizes(keys.shape[1], keys.shape[1] * keys.shape[3])
        for prompt in rows
        if prompt is not None
        for number, keys in prompt.keys.items()
    }
    layers = _find_layers(unet, sizes)
    attachment = Attachment(gates, rows, scale)
    with _adding(unet, layers if scale else [], attachment.term):
        yield attachment


class AdaptedLayer(NamedTuple):
    """One adapted cross-attention layer: its official number and its name in the UNet."""

    number: int
    name: str


class _Sizes(NamedTuple):
    heads: int
    width: int
    text_width: int | None = None


def find_adapted_layers(unet: UNet2DConditionModel, adapter: IFAdapter) -> list[AdaptedLayer]:
    """The layers of `unet` that `adapter` was made for; `UnsuitableModelError` if they are not all there."""
    config = adapter.config
    return _find_layers(
        unet,
        {n: _Sizes(width // config.head_dim, width, config.text_width) for n, width in config.layers.items()},
    )


def _find_layers(unet: UNet2DConditionModel, wanted: Mapping[int, _Sizes]) -> list[AdaptedLayer]:
    """The layers with these official processor numbers, checked to have these sizes."""
    # Official files number the layers by their place in this enumeration.
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    layers: list[AdaptedLayer] = []
    for number, sizes in wanted.items():
        if number >= len(names):
            raise _misfit(unet, number, sizes, f"the UNet has only {len(names)} processors")
        name = names[number]
        attention = unet.get_submodule(name)
        assert isinstance(attention, Attention), "attn_processors lists Attention modules"
        found = _Sizes(attention.heads, attention.inner_dim, attention.cross_attention_dim)
        if sizes.text_width is None:
            found = found._replace(text_width=None)
        if not name.endswith(".attn2") or found != sizes:
            raise _misfit(unet, number, sizes, f"that is {name} with {_described(found)}")
        layers.append(AdaptedLayer(number, name))
    return layers


def _misfit(unet: UNet2DConditionModel, number: int, wanted: _Sizes, found: str) -> UnsuitableModelError:
    return UnsuitableModelError(
        f"this IFAdapter does not fit this UNet (text width {unet.config['cross_attention_dim']}): it needs "
        f"attention processor {number} to be a cross-attention with {_described(wanted)}, but {found}. The "
        "published IFAdapter works with SDXL and models made from it."
    )


def _described(sizes: _Sizes) -> str:
    text = f" and text width {sizes.text_width}" if sizes.text_width else ""
    return f"{sizes.heads} heads, width {sizes.width}{text}"


def _check_rows(expected: int, query: Tensor) -> None:
    if len(query) != expected:
        raise ValueError(
            f"the IFAdapter was attached for {expected} rows, but the UNet was called with {len(query)}; "
            "with guidance every picture takes two rows, unconditional ones first"
        )


@contextmanager
def _adding(unet: UNet2DConditionModel, layers: Sequence[AdaptedLayer], term: Term) -> Iterator[None]:
    """Add `term` to these layers inside the `with` block."""
    numbers = {layer.name: layer.number for layer in layers}

    def visit(layer: LayerInputs) -> Tensor | None:
        return term(numbers[layer.name], layer.query, layer.grid)

    with visiting(unet, list(numbers), visit, ("to_q",)):
        yield
