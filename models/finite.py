"""Weights that are not finite numbers, found by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from .weights import CheckpointError, listing

# Types that torch can add up on every device; others are read as float32 first.
_ADDED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def is_finite(value: Tensor) -> bool:
    """Whether all entries are finite numbers, without a copy of the tensor where that can be told."""
    if not value.is_floating_point() or value.is_meta or value.numel() == 0:
        return True
    value = value if value.dtype in _ADDED else value.float()
    # A sum is finite only where its terms are; if it is not, it may have grown too large by itself.
    added = value.sum(dtype=torch.promote_types(value.dtype, torch.float32))
    return bool(added.isfinite()) or bool(value.isfinite().all())


def not_finite(weights: Iterable[tuple[str, Tensor]]) -> Iterator[str]:
    """Names of the tensors that hold something else than finite numbers."""
    return (name for name, value in weights if not is_finite(value))


def require_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise `CheckpointError` that names the weights which are not finite; `what` is the file in words."""
    names = list(not_finite(state.items()))
    if names:
        raise CheckpointError(
            f"{what} holds numbers that are not finite (NaN or infinity) in {len(names)} of {len(state)} "
            f"weights: {listing(names, 10)}. It is damaged, or was written in a precision too small for it."
        )
