"""Hooks on cross-attention layers of a diffusers UNet, for the duration of a `with` block.

The attention processors stay as they are. Hooks on a layer's own projections read the query where `to_q`
makes it, key and value likewise, and one adds to what `to_out` takes as its input. So every processor that
uses these projections works (scaled dot product, xformers, sliced, IP-Adapter; fused ones too where the query
is enough), LoRAs on them take part, and removing the hooks leaves the UNet exactly as it was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from .errors import UnsuitableModelError

Grid = tuple[int, int]
PROJECTIONS = ("to_q", "to_k", "to_v")


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """One call of a layer: its attention (B, L, C) before the output projection, its heads and its grid."""

    name: str
    projections: Mapping[str, Tensor]
    attended: Tensor
    heads: int
    grid: Grid
    processor: str

    @property
    def query(self) -> Tensor:
        """(B, L, C)."""
        return self._projected("to_q")

    @property
    def key(self) -> Tensor:
        """(B, T, C)."""
        return self._projected("to_k")

    @property
    def value(self) -> Tensor:
        """(B, T, C)."""
        return self._projected("to_v")

    def _projected(self, projection: str) -> Tensor:
        if projection not in self.projections:
            raise UnsuitableModelError(
                f"the attention processor {self.processor} of {self.name} does not use the layer's "
                f"{projection}, so nothing can be added to its attention; set another with "
                "unet.set_default_attn_processor()"
            )
        return self.projections[projection]


# One call of a layer -> what is added to its attention, None for nothing.
Visit = Callable[[LayerInputs], "Tensor | None"]


@contextmanager
def visiting(
    unet: UNet2DConditionModel,
    names: Sequence[str],
    visit: Visit,
    projections: Sequence[str] = PROJECTIONS,
) -> Iterator[None]:
    """Inside the `with` block `visit` sees every call of the layers with these names and may add to it.

    It is shown only these `projections` of a layer: each takes a hook, at every step. A compiled UNet runs
    without what was compiled; raises `UnsuitableModelError` for one where torch cannot do that.
    """
    with ExitStack() as hooks:
        if names:
            hooks.enter_context(_running_plain(unet))
        for name in names:
            for handle in _Carrier(unet, name, visit).handles(projections):
                hooks.callback(handle.remove)
        yield


def is_compiled(unet: nn.Module) -> bool:
    """Whether a UNet, or a part of it, was compiled (torch.compile)."""
    # Whoever compiles has imported this module; importing it takes seconds.
    if "torch._dynamo" not in sys.modules:
        return False
    return any(
        hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None
        for part in unet.modules()
    )


def _running_plain(unet: nn.Module) -> AbstractContextManager[Any]:
    """Inside the `with` block a compiled UNet runs as it was before; what is compiled stays for later.

    What was compiled before there were hooks does not look for them, and would leave out what they add.
    """
    if not is_compiled(unet):
        return nullcontext()
    if not hasattr(torch.compiler, "set_stance"):
        raise UnsuitableModelError(
            "this UNet is compiled (torch.compile), and nothing can be added to its attention before torch "
            "2.6; update torch, or take the UNet as it was before"
        )
    return torch.compiler.set_stance("force_eager")


class _Carrier:
    """Carries a layer's grid and projections from where they are made to where its attention is ready."""

    def __init__(self, unet: UNet2DConditionModel, name: str, visit: Visit) -> None:
        self.name = name
        # LoRAs replace the projections by modules of their own kind, so their types are left open.
        self.attention: Any = unet.get_submodule(name)
        self.transformer = unet.get_submodule(name.partition(".transformer_blocks.")[0])
        self.visit = visit
        self.grid: Grid = (0, 0)
        self.projections: dict[str, Tensor] = {}

    def handles(self, projections: Sequence[str]) -> Iterator[Any]:
        yield self.transformer.register_forward_pre_hook(self.note_grid, with_kwargs=True)
        for projection in projections:
            yield getattr(self.attention, projection).register_forward_hook(self.note(projection))
        yield self.attention.to_out[0].register_forward_pre_hook(self.act)

    def note_grid(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        height, width = (args[0] if args else kwargs["hidden_states"]).shape[-2:]
        self.grid = (height, width)

    def note(self, projection: str) -> Callable[..., None]:
        def keep(_: nn.Module, args: tuple[Any, ...], projected: Tensor) -> None:
            self.projections[projection] = projected

        return keep

    def act(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        projections, self.projections = self.projections, {}
        processor = type(self.attention.processor).__name__
        added = self.visit(
            LayerInputs(self.name, projections, args[0], self.attention.heads, self.grid, processor)
        )
        return None if added is None else (args[0] + added, *args[1:])


class BatchRows:
    """Some rows of the UNet's batch, counted from its end where negative.

    The batch itself where they are all of it, a slice where they are neighbours, else an index that is
    brought to a device once.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = list(rows)
        self._places: dict[tuple[int, torch.device], slice | Tensor] = {}

    def of(self, batch: Tensor) -> Tensor:
        """These rows of a batch (B, ...)."""
        place = self._place(batch)
        if not isinstance(place, slice):
            return batch.index_select(0, place)
        return batch if place == slice(0, len(batch)) else batch[place]

    def put(self, batch: Tensor, part: Tensor) -> None:
        """Writes these rows into a batch, in its dtype."""
        place, part = self._place(batch), part.to(batch.dtype)
        if isinstance(place, slice):
            batch[place] = part
        else:
            batch.index_copy_(0, place, part)

    def _place(self, batch: Tensor) -> slice | Tensor:
        key = (len(batch), batch.device)
        if key not in self._places:
            self._places[key] = self._found(*key)
        return self._places[key]

    def _found(self, count: int, device: torch.device) -> slice | Tensor:
        if not all(-count <= row < count for row in self.rows):
            raise ValueError(f"rows are {self.rows}, but the UNet was called with {count} rows")
        found = [row % count for row in self.rows]
        first, last = (found[0], found[-1]) if found else (0, -1)
        neighbours = found == list(range(first, last + 1))
        return slice(first, last + 1) if neighbours else torch.tensor(found, device=device)
