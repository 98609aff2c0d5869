"""Task: all that the training loop reads of a model, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn

from .settings import Settings

ObjectiveT = TypeVar("ObjectiveT", bound=nn.Module)


class BatchPosition(NamedTuple):
    """Position of a batch in a run: its step, its part of an accumulated step, its process of several.

    It follows from the step in a checkpoint: nothing else has to be kept of a run's way through its data, but
    for `together`, the number of processes with which it began. So many batches in a row were made at the
    same time then; 0 in runs of versions that did not keep it.
    """

    step: int
    part: int
    process_index: int
    parts: int
    num_processes: int
    together: int = 0

    @property
    def number(self) -> int:
        """The batch's number in the run, counted over processes and parts."""
        return (self.step * self.parts + self.part) * self.num_processes + self.process_index


@dataclass(frozen=True)
class Player:
    """One optimizer of a task: which parameters it moves, how fast, and which loss it lowers.

    `parameters` are beginnings of the names of its parameters in the objective. `rate_scales` maps such
    beginnings to a multiple of the run's learning rate, which is 1 for all others. `beta1` and `clip` take
    the place of the run's settings of that name. `judged` is the scalar that tells on what is held out how
    good the player is, its loss unless that says something else from step to step.
    """

    name: str = "model"
    parameters: tuple[str, ...] = ("",)
    loss: str = "loss"
    rate_scales: Mapping[str, float] = field(default_factory=dict[str, float])
    beta1: float | None = None
    clip: float | None = None
    judged: str | None = None


class Cost(NamedTuple):
    """What a run takes: bytes kept for a batch's backward pass, seconds of a part of a step with it, seconds
    of what is made before the first step (None where they are not known), bytes of the largest tensor that is
    kept, and bytes of weights that are no part of the objective."""

    kept: int
    seconds: float
    before: float | None = 0.0
    largest: int = 0
    beside: int = 0


class Task(ABC, Generic[ObjectiveT]):
    """A model in training.

    `objective` is called with a batch and a random generator and returns scalars by name: a player lowers the
    one it names as its loss, the others are only recorded. All its parameters that require gradients are
    trained and kept.

    With several players (a generator and its discriminator) each has its turn in every step, one after the
    other: only its own parameters require gradients, the objective is called with `player`, its name, besides
    the same batch and the same random numbers as before, and its optimizer makes its step before the next
    one's turn. An objective may keep what it made in the first turn for the others. Names of scalars differ
    from player to player. The first player's weights are the ones that are averaged, shown and exported.
    """

    objective: ObjectiveT

    @property
    def players(self) -> Sequence[Player]:
        """The players in their order: by default one, who trains everything."""
        return (Player(),)

    def prepare(self) -> None:
        """Make what takes long and is made once, before the first step, when all else is known to be well.

        Before it, batches may hold stand-ins of the same sizes. What `describe` says stays the same, but for
        what is None before.
        """

    @abstractmethod
    def batch(self, position: BatchPosition, size: int, seed: int) -> Any:
        """The samples at a position, as (nested) tensors; a function of the arguments alone."""

    def after_backward(self) -> None:
        """Called when a batch's gradients are computed: let go of what only they needed."""

    @property
    def thrift(self) -> str:
        """What takes less memory, for people whose device has too little."""
        return "switch gradient checkpointing on, or train in mixed precision"

    @property
    def later_thrift(self) -> str:
        """What of that a run can still be given that has a checkpoint, which holds on to its numbers."""
        return "switch gradient checkpointing on"

    @property
    def samples(self) -> int | None:
        """Samples of an epoch, None where they are made as they are needed."""
        return None

    def account(self) -> Iterable[str]:
        """What the run learns from and what is left out of it and why, a line each, for people."""
        return ()

    def cost(self, settings: Settings, device: torch.device) -> Cost | None:
        """What a step takes, where that is not told by a batch of one and one of two samples."""
        return None

    def before(self, settings: Settings, device: torch.device) -> float | None:
        """Seconds of what `prepare` makes, by one process; 0 for nothing, None where that is not known."""
        return 0.0

    @property
    def held_out_count(self) -> int:
        """Samples that are never trained on, to measure the loss on."""
        return 0

    def validation_batches(self, size: int) -> Sequence[Any]:
        """Batches that are never trained on, to measure the loss on; by default there are none.

        A process asks for its own alone, one after the other: large ones are `OnDemand`.
        """
        return ()

    def held_out_mark(self) -> str:
        """What is held out, where a run goes on with something else: losses on it do not compare then.

        Empty where `describe` or `rests_on` tell it, which refuse such a change.
        """
        return ""

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Plain values that must not change when a run is resumed (sizes, data, stage).

        None stands for what only `prepare` finds out, behind which it is compared.
        """

    def rests_on(self) -> Mapping[str, Any]:
        """Plain values besides those of `describe` that must not change either.

        What a checkpoint does not know, because its version did not, is not compared: every value is always
        there, an empty one where it means nothing.
        """
        return {}

    @abstractmethod
    def sample(self, path: Path) -> None:
        """Write a picture that shows the present weights at work."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the present weights into `folder` in the form in which they are used, over an earlier export.

        That is whatever their users load: a diffusers folder, an adapter, a reward model, or a LoRA of what
        has changed. File names do not depend on the step.
        """


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
