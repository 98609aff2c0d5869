"""A generator and its discriminator of a handful of weights: a task of two players.

`gan_task.py FOLDER STEPS …` trains them to each of these numbers of steps, in as many processes as it is
started in, continuing from the number before.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.order import generator_at
from instance_composer.training.engine.settings import Settings
from instance_composer.training.engine.task import Player, Task

MIDDLE = torch.tensor([1.5, -1.0])
PLAYERS = (
    Player("generator", ("generator.",), "fooling"),
    Player("discriminator", ("discriminator.",), "telling", {"discriminator.2": 2.0}, beta1=0.0, clip=0.5),
)


class Pair(nn.Module):
    """Points from noise, and a guess of whether a point is one of those or one around MIDDLE."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
        self.calls: list[tuple[str, torch.Tensor]] = []

    def forward(self, batch, generator, player):
        made = self.generator(torch.randn(batch["real"].shape, generator=generator))
        self.calls.append((player, made.detach()))
        if player == "generator":
            judged = self.discriminator(made)
            return {"fooling": F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))}
        judged = self.discriminator(torch.cat((made.detach(), batch["real"])))[:, 0]
        real = torch.arange(len(judged)) >= len(made)
        right = ((judged > 0) == real).float().mean()
        return {"telling": F.binary_cross_entropy_with_logits(judged, real.float()), "right": right}


class PairTask(Task[Pair]):
    def __init__(self, players: tuple[Player, ...] = PLAYERS) -> None:
        torch.manual_seed(7)
        self.objective = Pair()
        self.shown: list[torch.Tensor] = []
        self._players = players

    @property
    def players(self) -> tuple[Player, ...]:
        return self._players

    def batch(self, position, size, seed):
        return {"real": MIDDLE + 0.3 * torch.randn(size, 2, generator=generator_at(position, seed + 1))}

    def describe(self):
        return {"task": "pair"}

    def sample(self, path: Path) -> None:
        self.shown.append(self.objective.generator[0].weight.detach().clone())
        path.write_text("picture")

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.objective.generator.state_dict(), folder / "generator.pt")


def settings(**changes) -> Settings:
    values = {
        "steps": 8, "batch": 4, "learning_rate": 1e-2, "warm_up": 2, "every_log": 2, "every_checkpoint": 3,
        "every_sample": 4, "ema_decay": 0.9,
    }  # fmt: skip
    return Settings(**{**values, **changes})


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, *ends = sys.argv[1:]
    for end in ends:
        Trainer(PairTask(), settings(steps=int(end)), Path(folder)).run()
