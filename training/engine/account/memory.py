"""How many bytes a run holds, and how many there are."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from ..settings import ADAMW, ADAMW_8BIT, Settings
from ..task import Cost, Task

# A trained weight has a gradient, two moments and an average beside it, of four bytes each; moments of 8 bits
# have a scale for every 256.
_COPIES = {ADAMW: 4.0, ADAMW_8BIT: 2 + 2 * (1 + 4 / 256) / 4}
# Tensors as large as the largest one kept, which the end of a forward pass and the beginning of a backward
# one hold for a moment.
_PASSING = 4
# What allocators lose, as a share of the rest.
_SPARE = 0.1


class OutOfMemoryError(ValueError):
    """The model and a batch do not fit into the device's memory."""


def held(objective: nn.Module, optimizer: str = ADAMW) -> int:
    """Bytes of a model, its gradients, moments and averages, as a run holds them beside a batch."""
    tensors = (*objective.parameters(), *objective.buffers())
    weights = {tensor.data_ptr(): tensor.nbytes for tensor in tensors}
    trained = sum(p.nbytes for p in objective.parameters() if p.requires_grad)
    return sum(weights.values()) + int(_COPIES[optimizer] * trained)


def needed(
    objective: nn.Module,
    cost: Cost,
    optimizer: str = ADAMW,
    parts: int = 1,
    processes: int = 1,
    fsdp: bool = False,
) -> int:
    """Bytes at the end of a forward pass or while weights are updated, whichever is more.

    A step of one part has no gradients yet when its forward pass ends. Several processes hold gradients once
    more, in the buckets that they exchange. With `fsdp` each has its part of weights, gradients, moments and
    averages, and in a step weights and gradients whole besides.
    """
    trained = sum(p.nbytes for p in objective.parameters() if p.requires_grad)
    every = held(objective, optimizer) + cost.beside
    if fsdp and processes > 1:
        copies = int(_COPIES[optimizer] * trained)
        own = every - copies + (trained + copies) // processes
        forward = own + (trained if parts > 1 else 0) + cost.kept + _PASSING * cost.largest
        return int(max(forward, own + 2 * trained) * (1 + _SPARE))
    update = every + (trained if processes > 1 else 0)
    forward = update - (trained if parts == 1 else 0) + cost.kept + _PASSING * cost.largest
    return int(max(forward, update) * (1 + _SPARE))


def memory_of(device: torch.device) -> int:
    """All memory of a device in bytes, 0 if nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    names = getattr(os, "sysconf_names", {})
    if device.type == "cpu" and "SC_PHYS_PAGES" in names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def out_of_memory(
    trouble: str, settings: Settings, task: Task[Any], begun: bool, *, divides: bool = True
) -> OutOfMemoryError:
    """The error with ways out; a run that has `begun`, and left a checkpoint, has others.

    `divides` unless one sample alone is too large, so that smaller parts of a step are no way out.
    """
    size = settings.batch
    smaller = ""
    if divides and size > 1:
        parts = next(number for number in range(2, size + 1) if size % number == 0)
        smaller = f"batch to {size // parts} and accumulate to {parts * settings.accumulate}"
    if not begun:
        same = f"set {smaller} (the same step in smaller parts), " if smaller else ""
        return OutOfMemoryError(f"{trouble}: {same}{task.thrift}")
    ways = [task.later_thrift]
    # What else fsdp does not go together with, such as an old torch, is told where it is asked for.
    if settings.optimizer == ADAMW and settings.mixed_precision != "fp16" and len(task.players) == 1:
        ways.append("share it out to more processes (fsdp = true)")
    if smaller:
        ways.append(
            f"or begin anew in another folder, where you may set {smaller}, from what this one has exported "
            "where the command has --init"
        )
    return OutOfMemoryError(
        f"{trouble}, and a run that has a checkpoint goes on with its batch alone: {', '.join(ways)}"
    )
