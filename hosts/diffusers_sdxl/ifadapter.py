"""An IFAdapter on a diffusers SDXL UNet, for the duration of a `with` block.

The attention processors stay as they are. The term of each adapted layer is added by hooks on the layer's own
projections: one reads the query where `to_q` makes it, one adds the term where `to_out` takes its input. So
every processor that uses those two projections works (scaled dot product, xformers, sliced, fused,
IP-Adapter), LoRAs on them take part, and removing the hooks leaves the UNet exactly as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from ...models.ifadapter import (
    Gate,
    IFAdapter,
    InstancePrompt,
    semantic_map,
)
from ...models.regions import Placement, Regions

Grid = tuple[int, int]
# Number, query (B, L, C) and grid of a layer -> the term (B, L, C), None where nothing is to be added.
Term = Callable[[int, Tensor, Grid], "Tensor | None"]


class UnsuitableModelError(ValueError):
    """A model that the given IFAdapter, or this host, cannot work with."""


class Attachment:
    """The instances attached to a UNet.

    Set `progress`, 0 at the beginning of sampling and 1 at its end, before each step: it decides which
    instances act. Those that do not act cost nothing.
    """

    def __init__(
        self, gates: Mapping[int, Gate], rows: Sequence[InstancePrompt | None], scale: float = 1.0
    ) -> None:
        self.progress = 0.0
        self._gates = gates
        self._rows = len(rows)
        self._scale = scale
        # Rows that share their regions share their placement, so they are computed together.
        self._groups: dict[int, tuple[Regions, dict[int, InstancePrompt]]] = {}
        for row, prompt in enumerate(rows):
            if prompt is not None:
                self._groups.setdefault(id(prompt.regions), (prompt.regions, {}))[1][row] = prompt

    def term(self, number: int, query: Tensor, grid: Grid) -> Tensor | None:
        """What to add to a layer at the present progress: query (B, L, C) -> (B, L, C), None for nothing."""
        _check_rows(self._rows, query)
        out = None
        for regions, prompts in self._groups.values():
            placement = regions.place(grid, regions.active(self.progress), query.device)
            if placement is None:
                continue
            members = list(prompts)
            keys = torch.stack([prompt.keys[number] for prompt in prompts.values()])
            values = torch.stack([prompt.values[number] for prompt in prompts.values()])
            out = torch.zeros_like(query) if out is None else out
            out[members] = self._scale * semantic_map(
                query[members], keys, values, self._gates[number], placement
            )
        return out


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
    placements: dict[Grid, Placement] = {}

    def term(number: int, query: Tensor, grid: Grid) -> Tensor:
        _check_rows(len(counts), query)
        if grid not in placements:
            placements[grid] = Placement.of_boxes(boxes, counts, grid, query.device)
        return scale * adapter.attention[number].placed(query, tokens, placements[grid])

    with _adding(layers if scale else [], term):
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
    with _adding(layers if scale else [], attachment.term):
        yield attachment


class AdaptedLayer(NamedTuple):
    """One adapted cross-attention layer and the transformer that knows the shape of its token grid."""

    number: int
    name: str
    attention: Attention
    transformer: nn.Module


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
            raise _misfit(unet, number, sizes, f"that is {name} with {_told(found)}")
        transformer = unet.get_submodule(name.partition(".transformer_blocks.")[0])
        layers.append(AdaptedLayer(number, name, attention, transformer))
    return layers


def _misfit(unet: UNet2DConditionModel, number: int, wanted: _Sizes, found: str) -> UnsuitableModelError:
    return UnsuitableModelError(
        f"this IFAdapter does not fit this UNet (text width {unet.config['cross_attention_dim']}): it needs "
        f"attention processor {number} to be a cross-attention with {_told(wanted)}, but {found}. The "
        "published IFAdapter works with SDXL and models made from it."
    )


def _told(sizes: _Sizes) -> str:
    text = f" and text width {sizes.text_width}" if sizes.text_width else ""
    return f"{sizes.heads} heads, width {sizes.width}{text}"


def _check_rows(expected: int, query: Tensor) -> None:
    if len(query) != expected:
        raise ValueError(
            f"the IFAdapter was attached for {expected} rows, but the UNet was called with {len(query)}; "
            "with guidance every picture takes two rows, unconditional ones first"
        )


@contextmanager
def _adding(layers: Sequence[AdaptedLayer], term: Term) -> Iterator[None]:
    """Add `term` to these layers inside the `with` block."""
    with ExitStack() as hooks:
        for layer in layers:
            carrier = _Carrier(layer, term)
            # LoRAs replace these projections by modules of their own kind, so their types are left open.
            to_q: Any = layer.attention.to_q
            to_out: Any = layer.attention.to_out
            for handle in (
                layer.transformer.register_forward_pre_hook(carrier.note_grid, with_kwargs=True),
                to_q.register_forward_hook(carrier.note_query),
                to_out[0].register_forward_pre_hook(carrier.add_term),
            ):
                hooks.callback(handle.remove)
        yield


class _Carrier:
    """Carries a layer's grid and query from where they are known to where the term is added."""

    def __init__(self, layer: AdaptedLayer, term: Term) -> None:
        self.layer = layer
        self.term = term
        self.grid: Grid = (0, 0)
        self.query: Tensor | None = None

    def note_grid(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        height, width = (args[0] if args else kwargs["hidden_states"]).shape[-2:]
        self.grid = (height, width)

    def note_query(self, _: nn.Module, args: tuple[Any, ...], query: Tensor) -> None:
        self.query = query

    def add_term(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        query, self.query = self.query, None
        if query is None:
            processor = type(self.layer.attention.processor).__name__
            raise UnsuitableModelError(
                f"the attention processor {processor} of {self.layer.name} does not use the layer's to_q, "
                "so an IFAdapter cannot be added to it; set another with unet.set_default_attn_processor()"
            )
        term = self.term(self.layer.number, query, self.grid)
        return None if term is None else (args[0] + term, *args[1:])
