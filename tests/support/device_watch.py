"""A GPU that need not be there: tensors on the device "meta" under watch.

`meta` computes shapes and types without values. Whatever reads a value back fails there by itself, and so
does an operation on tensors of two devices. What it does not show is counted here: operations that a GPU
would launch a kernel for, the bytes they write, and tensors that would be copied to the device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("meta")
# They hand out the same memory in another shape, and launch nothing.
_ALIASES = {
    "detach",
    "alias",
    "lift_fresh",
    "_unsafe_view",
    "_reshape_alias",
    "empty",
    "empty_like",
    "new_empty",
}
# Python values become tensors here: on a GPU, a copy that waits for all that was launched before.
_OF_VALUES = {torch.tensor, torch.as_tensor, Tensor.new_tensor, torch.asarray}
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__}


class Watch:
    """Counts of what happened: launches by operation, bytes written, copies to the device by their cause.

    `called` are torch's full names of all operations on the device, aliases too, and `dtypes` what they made.
    """

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.bytes = 0
        self.copies: Counter[str] = Counter()
        self.on_cpu: Counter[str] = Counter()
        self.called: set[str] = set()
        self.dtypes: set[torch.dtype] = set()

    @property
    def launches(self) -> int:
        return sum(self.operations.values())


class _Launches(TorchDispatchMode):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        made = [one for one in tree_leaves(out) if isinstance(one, Tensor)]
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if any(one.device == DEVICE for one in made):
            self.watch.called.add(func.name())
            self.watch.dtypes.update(one.dtype for one in made)
            # A number without dimensions travels with the launch.
            if any(one.device.type == "cpu" and one.ndim for one in given):
                self.watch.copies[name] += 1
            if not func.is_view and name not in _ALIASES:
                self.watch.operations[name] += 1
                self.watch.bytes += sum(one.numel() * one.element_size() for one in made)
        elif any(one.ndim for one in made):
            self.watch.on_cpu[name] += 1
        return out


class _HostValues(TorchFunctionMode):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _OF_VALUES and not isinstance(args[-1], Tensor):
            self.watch.copies[func.__name__] += 1
        if func in _INDEXING and args[0].device == DEVICE:
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            for part in parts:
                if isinstance(part, list) or (isinstance(part, Tensor) and part.dtype == torch.bool):
                    self.watch.copies[func.__name__] += 1
        return func(*args, **kwargs)


@contextmanager
def watched() -> Iterator[Watch]:
    """The work that a GPU would be asked to do inside the block."""
    watch = Watch()
    with _HostValues(watch), _Launches(watch):
        yield watch
