"""The loss on what a task holds out, always with the same noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator

from .batches import to_device
from .order import generator_at
from .task import BatchPosition, Player, Task

# Noise of steps that no run comes to.
_SEED = 2**31 - 1


@torch.no_grad()
def held_out_loss(
    task: Task[Any],
    player: Player,
    batches: Sequence[Any],
    accelerator: Accelerator,
    whose: Mapping[str, str],
) -> float:
    """The mean of the player's loss over batches, shared by processes; `whose` goes to the objective."""
    total, processes = 0.0, accelerator.num_processes
    for number in range(accelerator.process_index, len(batches), processes):
        position = BatchPosition(number, 0, 0, 1, 1)
        generator = generator_at(position, _SEED, accelerator.device)
        with accelerator.autocast():
            report = task.objective(to_device(batches[number], accelerator.device), generator, **whose)
        task.after_backward()
        total += float(report[player.judged or player.loss])
    if accelerator.mixed_precision != "no":
        # Halves of averaged weights, made without gradients, are of no use to the next step.
        torch.clear_autocast_cache()
    if processes > 1:
        found = torch.tensor([total], device=accelerator.device)
        total = float(accelerator.reduce(found).item())  # pyright: ignore[reportAttributeAccessIssue]
    return total / len(batches)
