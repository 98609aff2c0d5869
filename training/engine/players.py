"""Players' optimizers: AdamW for each player of a task, over its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from .settings import ADAMW_8BIT, Settings, SettingsError
from .sharding import moments_like
from .task import Player, Task, parameter_groups


@dataclass
class Turn:
    """A player in a run: `trained` are its parameters, which its optimizer moves; the others stand still."""

    player: Player
    trained: list[nn.Parameter]
    optimizer: Any
    others: list[nn.Parameter]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside the block no gradient reaches another player's parameters."""
        for parameter in self.others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.others:
                parameter.requires_grad_(True)

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step; parts of a model may have multiples of it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]

    def load(self, state: dict[str, Any]) -> None:
        """The moments from a checkpoint; rates and decay from the settings, which may have changed."""
        wanted = [group["weight_decay"] for group in self.optimizer.param_groups]
        own = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.optimizer.load_state_dict(moments_like(state, own))
        for group, decay in zip(self.optimizer.param_groups, wanted, strict=True):
            group["weight_decay"] = decay


def make_turns(task: Task[Any], settings: Settings) -> list[Turn]:
    """The players of a task in their order; `ValueError` unless each parameter has exactly one of them."""
    named = [(name, p) for name, p in task.objective.named_parameters() if p.requires_grad]
    players = task.players
    for name, _ in named:
        _check_one(name, players)
    return [_turn(player, named, settings) for player in players]


def _check_one(name: str, players: Sequence[Player]) -> None:
    owners = [player.name for player in players if name.startswith(player.parameters)]
    if len(owners) != 1:
        raise ValueError(
            f"{name} belongs to {' and '.join(owners) or 'no player'}; give every parameter that requires "
            "gradients to exactly one player"
        )


def _turn(player: Player, named: Sequence[tuple[str, nn.Parameter]], settings: Settings) -> Turn:
    own = [(name, p) for name, p in named if name.startswith(player.parameters)]
    optimizer = _adamw(settings)(
        parameter_groups(own, settings.weight_decay, player.rate_scales),
        lr=settings.learning_rate,
        betas=(settings.beta1 if player.beta1 is None else player.beta1, settings.beta2),
        eps=settings.epsilon,
    )
    others = [p for name, p in named if not name.startswith(player.parameters)]
    return Turn(player, [p for _, p in own], optimizer, others)


def _adamw(settings: Settings) -> Callable[..., Any]:
    if settings.optimizer != ADAMW_8BIT:
        return partial(torch.optim.AdamW, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingsError(
            f"optimizer is {ADAMW_8BIT}, which takes the package bitsandbytes; get it with: pip install "
            f"bitsandbytes, or leave it at adamw ({error})"
        ) from error
    return AdamW8bit
