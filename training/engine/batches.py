"""Batches as tasks make them: tensors, in any nesting of tuples, lists and dictionaries; some on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload

import torch

BatchT = TypeVar("BatchT")


class OnDemand(Sequence[BatchT], Generic[BatchT]):
    """Batches by number, each made when it is asked for and kept by nobody: all would not fit into memory."""

    def __init__(self, make: Callable[[int], BatchT], numbers: range) -> None:
        self._make, self._numbers = make, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> BatchT: ...
    @overload
    def __getitem__(self, place: slice) -> OnDemand[BatchT]: ...
    def __getitem__(self, place: int | slice) -> BatchT | OnDemand[BatchT]:
        if isinstance(place, slice):
            return OnDemand(self._make, self._numbers[place])
        return self._make(self._numbers[place])


def to_device(batch: Any, device: torch.device) -> Any:
    """The same batch with its tensors on a device; what is no tensor stays."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
