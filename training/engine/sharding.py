"""A run's weights, moments and averages shared out to processes (FSDP)."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from torch import Tensor, nn

from .account.announcement import Estimate, estimate
from .settings import ADAMW, Settings, SettingsError
from .task import Task

logger = logging.getLogger("instance_composer")


class Shards:
    """Trained weights of an objective in equal parts on all processes, by torch's `fully_shard`.

    They are whole while the objective is called, and so are their gradients until a step ends; moments and
    averages never are. Single numbers are not shared out, nor is what is not trained. The parameters of the
    objective are others afterwards: optimizers are made behind this.
    """

    def __init__(self, objective: nn.Module, device: torch.device, processes: int) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self.objective: Any = objective
        self._processes = processes
        trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
        self._single = [name for name, p in trained.items() if not p.ndim]
        self._names = list(trained)
        left = {p for p in objective.parameters() if not (p.requires_grad and p.ndim)}
        mesh = init_device_mesh(device.type, (processes,))
        fully_shard(objective, mesh=mesh, ignored_params=left)

    def synchronise(self, wanted: bool) -> None:
        """Whether the next backward pass ends with gradients exchanged."""
        self.objective.set_requires_gradient_sync(wanted)

    def average_single(self) -> None:
        """Average the gradients of what is not shared out."""
        named = dict(self.objective.named_parameters())
        own = [named[name] for name in self._single if named[name].grad is not None]
        if not own:
            return
        gradients = torch.stack([parameter.grad for parameter in own])
        torch.distributed.all_reduce(gradients)
        for parameter, gradient in zip(own, gradients / self._processes, strict=True):
            parameter.grad = gradient

    @contextmanager
    def holding(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """Inside the block the objective has these weights, whole, on every process."""
        self.objective.unshard()
        named = dict(self.objective.named_parameters())
        before = {name: named[name].detach().clone() for name in self._single}
        # Whoever asks a part of the model for its state would have the weights shared out again.
        hooks = {module: dict(module._state_dict_pre_hooks) for module in self.objective.modules()}
        for module in hooks:
            module._state_dict_pre_hooks.clear()
        try:
            with torch.no_grad():
                # One after the other: beside the model there is no room for all of them whole.
                for name, weight in zip(self._names, weights, strict=True):
                    named[name].copy_(whole(weight))
            yield
        finally:
            for module, own in hooks.items():
                module._state_dict_pre_hooks.update(own)
            with torch.no_grad():
                for name, weight in before.items():
                    named[name].copy_(weight)
            self.objective.reshard()


def shared_out(
    task: Task[Any], settings: Settings, accelerator: Accelerator, begun: bool
) -> tuple[Shards | None, Estimate | None]:
    """Share a task's objective out if the settings want that, and what it took before; else nothing.

    A run that has `begun` has a checkpoint.
    """
    if not settings.fsdp:
        return None, None
    _check(settings, len(task.players))
    if accelerator.num_processes == 1:
        logger.warning("fsdp has no effect: there is one process")
        return None, None
    task.objective.to(accelerator.device)
    # Measured while the parameters are whole.
    found = estimate(task, settings, accelerator, settings.accumulate, begun)
    return Shards(task.objective, accelerator.device, accelerator.num_processes), found


def _check(settings: Settings, players: int) -> None:
    """`SettingsError` in words for what sharing out does not go together with."""
    from torch.distributed.fsdp import fully_shard

    reason = None
    if settings.mixed_precision == "fp16":
        reason = "its loss scale does not see the other processes' gradients: train in bf16"
    elif settings.optimizer != ADAMW:
        reason = f"moments of 8 bits cannot be shared out: take optimizer {ADAMW}"
    elif players > 1:
        reason = "this run trains several models against each other: --fidelity-weight 0 leaves one out"
    elif "ignored_params" not in inspect.signature(fully_shard).parameters:
        reason = f"it takes torch 2.7 or newer, and this is {torch.__version__}"
    if reason:
        raise SettingsError(f"fsdp is on, but {reason}; or leave fsdp at false")


def whole(value: Tensor) -> Tensor:
    """A tensor from all processes' parts of it; all of them must ask. Others as they are."""
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def collected(state: Any, kept: bool) -> Any:
    """A state of plain containers with every tensor that is shared out whole on the CPU, where it is `kept`.

    Elsewhere None stands for it. All processes must ask, with the same state. They hold one tensor whole at a
    time: together they would not fit where they had to be shared out.
    """
    from torch.distributed.tensor import DTensor

    if isinstance(state, DTensor):
        gathered = state.full_tensor()
        return gathered.cpu() if kept else None
    if isinstance(state, Mapping):
        return {key: collected(value, kept) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(collected(value, kept) for value in state)
    return state


def part_like(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, shared out and where another one is; a copy in any case."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value.to(like.device, copy=True)
    part = distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    # As it comes it is a view that would hold on to the memory of the whole tensor.
    return DTensor.from_local(
        part.to_local().clone(),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=value.shape,
        stride=value.stride(),
    )


def moments_like(state: dict[str, Any], parameters: Sequence[Tensor]) -> dict[str, Any]:
    """An optimizer's whole state shared out as its parameters are, which come in the state's order."""

    def part(value: Any, like: Tensor) -> Any:
        return part_like(value, like) if isinstance(value, Tensor) else value

    parts = {
        number: {name: part(value, parameters[number]) for name, value in own.items()}
        for number, own in state["state"].items()
    }
    return {**state, "state": parts}
