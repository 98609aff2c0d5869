"""What a step takes, measured on one and on two samples before the first one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..settings import Settings
from ..task import BatchPosition, Cost, Player, Task


class TooLargeError(Exception):
    """Out of memory with a batch of so many samples."""

    def __init__(self, samples: int) -> None:
        super().__init__(samples)
        self.samples = samples


def measure(
    task: Task[Any], settings: Settings, device: torch.device, to_device: Callable[[Any], Any]
) -> Cost:
    """What a task says of itself, else measured on one and on two samples; the run's numbers stay as they
    were. `TooLargeError` where what is measured does not fit.

    A step is that of all players, each of which holds what its own turn keeps.
    """
    sizes = (1, 2) if settings.batch > 1 else (1,)
    with _undisturbed(task.objective):
        # A task measures whole batches.
        with _trying(settings.batch):
            own = task.cost(settings, device)
        if own is not None:
            return own
        found: list[Cost] = []
        # The first call also chooses kernels and fills caches, which a batch of many would multiply.
        for size in (1, *sizes):
            with _trying(size):
                found.append(_sample(task, size, settings, device, to_device))
        with _trying(settings.batch):
            before = task.before(settings, device)
    if len(sizes) == 1:
        return found[-1]._replace(before=before)
    # What does not grow with the batch, such as halves of weights, counts once.
    _, one, two = found
    more = settings.batch - 1
    return Cost(
        one.kept + more * max(0, two.kept - one.kept),
        one.seconds + more * max(0.0, two.seconds - one.seconds),
        before,
        largest=one.largest + more * max(0, two.largest - one.largest),
    )


def _sample(
    task: Task[Any], size: int, settings: Settings, device: torch.device, to_device: Callable[[Any], Any]
) -> Cost:
    batch = to_device(task.batch(BatchPosition(0, 0, 0, 1, 1), size, settings.seed))
    turns = [_turn(task, player, batch, settings, device) for player in task.players]
    return Cost(
        max(one.kept for one in turns),
        sum(one.seconds for one in turns),
        largest=max(one.largest for one in turns),
    )


def _turn(task: Task[Any], player: Player, batch: Any, settings: Settings, device: torch.device) -> Cost:
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
    seconds = time.perf_counter() - started
    return Cost(sum(kept.values()), seconds, largest=max(kept.values(), default=0))


@contextmanager
def _trying(samples: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TooLargeError(samples) from error


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
