"""Tensors kept for a backward pass as they were, although others write into them.

ComfyUI adds what a ControlNet says to features in their place, and FreeU and other packs scale them there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Saved:
    """A tensor as it was when it was kept."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class KeptAsSaved(TorchDispatchMode):
    """Copies what is kept for the backward pass right before somebody writes into its memory.

    To be used with `torch.autograd.graph.saved_tensors_hooks(mode.save, mode.saved)`. Torch's own
    `allow_mutation_on_saved_tensors` goes by the address of a tensor's beginning, so a write into a part that
    begins elsewhere would change the gradient without a word.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[int, WeakSet[Saved]] = {}

    def save(self, tensor: Tensor) -> Saved:
        """Keeps a tensor for as long as what is returned lives."""
        kept = Saved(tensor)
        self._kept.setdefault(_address(tensor), WeakSet()).add(kept)
        return kept

    @staticmethod
    def saved(kept: Saved) -> Tensor:
        """The tensor as it was saved."""
        return kept.tensor

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func._schema.is_mutable:
            for place, argument in enumerate(func._schema.arguments):
                if argument.is_write:
                    self._copy_first(args[place] if place < len(args) else named.get(argument.name))
        return func(*args, **named)

    def _copy_first(self, written: Any) -> None:
        for one in written if isinstance(written, list | tuple) else (written,):
            if isinstance(one, Tensor):
                for kept in self._kept.pop(_address(one), ()):
                    kept.tensor = kept.tensor.clone()
                    self._kept.setdefault(_address(kept.tensor), WeakSet()).add(kept)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
