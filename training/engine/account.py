"""What a run will do and take, told before its first step: data, weights, epochs, memory and time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .settings import ADAMW, ADAMW_8BIT, Settings
from .task import BatchPosition, Cost, Task

# A trained weight has a gradient, two moments and an average beside it, of four bytes each; moments of 8 bits
# have a scale for every 256.
_COPIES = {ADAMW: 4.0, ADAMW_8BIT: 2 + 2 * (1 + 4 / 256) / 4}
# What allocators lose and single kernels need for a moment, as a share of the rest.
_SPARE = 0.1


def held(objective: nn.Module, optimizer: str = ADAMW) -> int:
    """Bytes of a model, its gradients, moments and averages, as a run holds them beside a batch."""
    tensors = (*objective.parameters(), *objective.buffers())
    weights = {tensor.data_ptr(): tensor.nbytes for tensor in tensors}
    trained = sum(p.nbytes for p in objective.parameters() if p.requires_grad)
    return sum(weights.values()) + int(_COPIES[optimizer] * trained)


def needed(objective: nn.Module, cost: Cost, optimizer: str = ADAMW) -> int:
    """Bytes at the end of a forward pass, when there is most."""
    return int((held(objective, optimizer) + cost.kept) * (1 + _SPARE))


def measure(
    task: Task[Any], settings: Settings, device: torch.device, to_device: Callable[[Any], Any]
) -> Cost:
    """What a task says of itself, else measured on one and on two samples; the run's numbers stay as they
    were."""
    sizes = (1, 2) if settings.batch > 1 else (1,)
    with _undisturbed(task.objective):
        own = task.cost(settings, device)
        if own is not None:
            return own
        found = [_sample(task, size, settings, device, to_device) for size in sizes]
    if len(found) == 1:
        return Cost(found[0].kept, found[0].seconds)
    # What does not grow with the batch, such as halves of weights, counts once.
    one, two = found
    more = settings.batch - 1
    return Cost(
        one.kept + more * max(0, two.kept - one.kept),
        one.seconds + more * max(0.0, two.seconds - one.seconds),
    )


def _sample(
    task: Task[Any], size: int, settings: Settings, device: torch.device, to_device: Callable[[Any], Any]
) -> Cost:
    player = task.players[0]
    batch = to_device(task.batch(BatchPosition(0, 0, 0, 1, 1), size, settings.seed))
    whose = {"player": player.name} if len(task.players) > 1 else {}
    precision = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(settings.mixed_precision)
    trained = [
        p
        for name, p in task.objective.named_parameters()
        if p.requires_grad and name.startswith(player.parameters)
    ]

    def call() -> Tensor:
        generator = torch.Generator(device).manual_seed(0)
        with torch.autocast(device.type, dtype=precision or torch.float32, enabled=precision is not None):
            return task.objective(batch, generator, **whose)[player.loss]

    try:
        return timed(call, task.objective, device, trained)
    finally:
        task.after_backward()
        torch.clear_autocast_cache()


def timed(
    call: Callable[[], Tensor], objective: nn.Module, device: torch.device, inputs: Sequence[Tensor] = ()
) -> Cost:
    """Seconds of a call, with its backward pass to `inputs` if there are any, and the bytes kept for that."""
    own = {p.data_ptr() for p in objective.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    _wait(device)
    started = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = call()
    if inputs:
        torch.autograd.grad(result.float().sum(), inputs, allow_unused=True)
    _wait(device)
    return Cost(sum(kept.values()), time.perf_counter() - started)


@contextmanager
def _undisturbed(objective: nn.Module) -> Iterator[None]:
    """Inside the block neither random numbers nor buffers of the model move on for good."""
    before = {name: buffer.clone() for name, buffer in objective.named_buffers()}
    training = objective.training
    try:
        with torch.random.fork_rng():
            objective.train()
            yield
    finally:
        objective.train(training)
        for name, buffer in objective.named_buffers():
            buffer.copy_(before[name])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def weights_line(objective: nn.Module) -> str:
    """How many weights are trained, of how many."""
    every = {p.data_ptr(): p for p in objective.parameters()}.values()
    trained = [p for p in every if p.requires_grad]
    return (
        f"weights: {count(sum(p.numel() for p in trained))} of {count(sum(p.numel() for p in every))} are "
        f"trained, in {len(trained)} tensors"
    )


def steps_line(settings: Settings, done: int, parts: int, processes: int, samples: int | None) -> str:
    """How many steps of how many samples, and how often each sample comes in them."""
    size = settings.batch * parts * processes
    left = max(0, settings.steps - done)
    made = (
        f"{settings.batch} × {parts} parts × {processes} processes = {size} samples"
        if size > (settings.batch)
        else f"{size} samples"
    )
    epochs = f"; {left * size / samples:.3g} epochs of {samples}" if samples else ""
    return f"steps: {left} of {settings.steps} are left, each of {made}{epochs}"


def held_out_line(settings: Settings, held_out: int) -> str:
    """Whether a best checkpoint is kept, and by what."""
    if not held_out:
        return "held out: nothing, so no checkpoint is kept as the best one"
    if not settings.every_validation:
        return f"held out: {held_out}, but never measured: every_validation is 0"
    return (
        f"held out: {held_out}, never trained on; the loss on them is measured every "
        f"{settings.every_validation} steps, and the checkpoint where it was lowest is kept"
    )


def memory_of(device: torch.device) -> int:
    """All memory of a device in bytes, 0 if nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    names = getattr(os, "sysconf_names", {})
    if device.type == "cpu" and "SC_PHYS_PAGES" in names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def gigabytes(size: float) -> str:
    """A size in words."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def count(number: int) -> str:
    """A number of weights in words."""
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if number >= unit:
            return f"{number / unit:.2f} {name}"
    return str(number)


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
