"""What the training loop needs to know of a model, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Generator, Tensor, nn


class Place(NamedTuple):
    """Where in a run a batch belongs: its step, its part of an accumulated step, its process of several."""

    step: int
    part: int
    process: int
    parts: int
    processes: int

    @property
    def number(self) -> int:
        """The batch's number in the run, counted over processes and parts."""
        return (self.step * self.parts + self.part) * self.processes + self.process


class Task(Protocol):
    """A model in training.

    `objective` is called with a batch and a random generator and returns scalars by name; "loss" is what is
    minimised, the others are only recorded. All its parameters that require gradients are trained and kept.
    """

    @property
    def objective(self) -> nn.Module: ...

    def batch(self, place: Place, size: int, seed: int) -> Any:
        """The samples of a place, as (nested) tensors; a function of the arguments alone."""
        ...

    def after_backward(self) -> None:
        """Called when a batch's gradients are computed: let go of what only they needed."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """What must not change when a run is resumed, as plain values (sizes, data, stage)."""
        ...

    def sample(self, path: Path) -> None:
        """Write a picture that shows the present weights at work."""
        ...

    def export(self, folder: Path) -> None:
        """Write the present weights in the form in which they are used."""
        ...


class Objective(Protocol):
    """The call of a task's module."""

    def __call__(self, batch: Any, generator: Generator) -> dict[str, Tensor]: ...


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    weight_decay: float,
    scales: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Optimizer groups: weight decay for matrices and kernels, none for norms, biases, embeddings and gates.

    `scales` maps beginnings of parameter names to a multiple of the learning rate; the field `scale` of a
    group holds it. Parameters that do not require gradients are left out.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            scale = next((s for start, s in (scales or {}).items() if name.startswith(start)), 1.0)
            decays = parameter.ndim >= 2 and "embedding" not in name
            groups.setdefault((scale, decays), []).append(parameter)
    return [
        {"params": members, "scale": scale, "weight_decay": weight_decay if decays else 0.0}
        for (scale, decays), members in groups.items()
    ]
