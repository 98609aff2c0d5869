"""What a run says before its first step."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from accelerate import Accelerator

from ..batches import to_device
from ..settings import Settings
from ..task import Cost, Task
from .measure import TooLargeError, measure
from .memory import memory_of, needed, out_of_memory
from .words import duration, gigabytes, held_out_line, steps_line, weights_line

logger = logging.getLogger("instance_composer")


class Estimate(NamedTuple):
    """The weights in words, what a step takes, and the bytes of memory that are needed."""

    weights: str
    cost: Cost
    memory: int


def estimate(
    task: Task[Any], settings: Settings, accelerator: Accelerator, parts: int, begun: bool
) -> Estimate:
    """Look at a model and try what is to be measured; `OutOfMemoryError` where that does not fit, with ways
    out for a run that has `begun` or has not."""
    device, processes = accelerator.device, accelerator.num_processes
    try:
        cost = measure(task, settings, device, lambda batch: to_device(batch, device))
    except TooLargeError as error:
        samples = "one" if error.samples == 1 else str(error.samples)
        trouble = f"a batch of {samples} does not fit into the memory of {device}"
        raise out_of_memory(trouble, settings, task, begun, divides=error.samples > 1) from error
    memory = needed(task.objective, cost, settings.optimizer, parts, processes, settings.fsdp)
    return Estimate(weights_line(task.objective), cost, memory)


def announce(
    task: Task[Any],
    settings: Settings,
    accelerator: Accelerator,
    done: int,
    parts: int,
    changes: Iterable[str] = (),
    found: Estimate | None = None,
) -> None:
    """Say what a run learns from, what it will do after `done` steps of `parts` each, and what that takes.

    `changes` are lines that come first, `found` is an estimate that was made before. `OutOfMemoryError` where
    it would not fit into memory.
    """
    device = accelerator.device
    say(
        accelerator,
        *changes,
        *task.account(),
        weights_line(task.objective) if found is None else found.weights,
        steps_line(settings, done, parts, accelerator.num_processes, task.samples),
        held_out_line(settings, task.held_out_count),
    )
    found = found or estimate(task, settings, accelerator, parts, done > 0)
    cost, memory, there = found.cost, found.memory, memory_of(device)
    of = f" of {gigabytes(there)} on {device}" if there else ""
    say(accelerator, f"memory: about {gigabytes(memory)}{of}")
    if there and memory > there:
        trouble = f"training needs about {gigabytes(memory)}, and {device} has {gigabytes(there)}"
        raise out_of_memory(trouble, settings, task, done > 0)
    step, left = cost.seconds * parts, max(0, settings.steps - done)
    before = (cost.before or 0.0) / accelerator.num_processes
    first = f", of it {duration(before)} before the first" if before else ""
    if cost.before is None:
        first = ", without what is made before the first"
    say(
        accelerator,
        f"time: about {duration(left * step + before)} for {left} steps of {duration(step)}{first}",
    )


def say(accelerator: Accelerator, *lines: str) -> None:
    """Lines that one process says for all."""
    if accelerator.is_main_process:
        for line in lines:
            logger.info("%s", line)
