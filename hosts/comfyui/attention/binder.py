"""Binder of a model family: how patches get into one call of its diffusion model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from .errors import ModelMismatchError
from .layer_call import Block, Group, ModelCall
from .transformer.binder import TransformerBinder
from .transformer.families import FAMILIES
from .unet.binder import UNetBinder


class Binder(Protocol):
    """One model family's way of letting groups act in its attention layers."""

    def serves(self, model: Any) -> bool:
        """True if a MODEL (a ModelPatcher) is of this family."""
        ...

    def options(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The transformer_options among the arguments of a call of the diffusion model."""
        ...

    @property
    def wrapper(self) -> str:
        """The kind of ComfyUI's wrappers (`WrappersMP`) that a call of the diffusion model goes through."""
        ...

    def with_options(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call with other transformer_options."""
        ...

    def text_rows(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """Length of the texts among the arguments of a call of the diffusion model."""
        ...

    def patched(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], groups: Sequence[Group], call: ModelCall
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call with the groups on top of whatever is installed by now."""
        ...

    def following(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[Any]:
        """Inside the `with` block a call with these patched arguments knows which block is running."""
        ...

    def reached(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call with these patched arguments, which is over, has come by the model's attention."""
        ...

    def text_blocks(self, model: Any) -> Collection[Block]:
        """Keys of the layers in which regions are read one by one; none where they join the prompt."""
        ...

    def layers(self, model: Any, preset: str) -> tuple[Block, ...]:
        """Keys of a preset's layers in which the picture reads text; ValueError for an unknown preset."""
        ...

    def padding(self, text: Tensor) -> int:
        """How many rows ComfyUI has put before a prompt's text (1, rows, width)."""
        ...

    def beside(self, arguments: Mapping[str, Any]) -> int:
        """How many tokens of a prompt are in other arguments of the model than its first text."""
        ...

    def tokens(self, text: Tensor, values: Mapping[str, Any], model_options: Mapping[str, Any]) -> int:
        """How many tokens a model with these options reads of a CONDITIONING's text and values."""
        ...


BINDERS: tuple[Binder, ...] = (UNetBinder(), *map(TransformerBinder, FAMILIES))


def find_binder(model: Any) -> Binder:
    """The binder of a MODEL's family; `ModelMismatchError` if there is none."""
    for binder in BINDERS:
        if binder.serves(model):
            return binder
    raise ModelMismatchError(
        f"This MODEL is {type(model.model.model_config).__name__}, whose attention Instance Composer cannot "
        "reach: it works with UNets, such as SDXL's and SD1.5's, and with "
        f"{', '.join(family.title for family in FAMILIES)}. Load one of these."
    )
