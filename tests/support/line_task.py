"""A model of a handful of weights, to see what the training loop promises every model.

`line_task.py FOLDER STEPS …` trains it to each of these numbers of steps, in as many processes as it is
started in, continuing from the number before; it encodes two pictures first, because real runs do.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.data.latents import encode_once
from instance_composer.training.demo_model.architecture import make_autoencoder
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.order import sample_numbers
from instance_composer.training.engine.settings import Settings
from instance_composer.training.engine.task import Task

TRUTH = torch.tensor([1.0, -2.0, 0.5])


class Line(nn.Module):
    """Fits y = x · TRUTH from noisy examples."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)
        self.fixed = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, batch, generator):
        noisy = batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=generator)
        error = self.head(self.body(noisy))[:, 0] - batch["y"]
        return {"loss": error.square().mean(), "bias": error.mean()}


class LineTask(Task[Line]):
    def __init__(self, data: int = 64) -> None:
        torch.manual_seed(7)
        self.objective = Line()
        self.x = torch.randn(data, 3, generator=torch.Generator().manual_seed(3))
        self.shown: list[torch.Tensor] = []
        self.let_go = 0

    def batch(self, position, size, seed):
        numbers = sample_numbers(len(self.x), size, position.number, seed)
        return {"x": self.x[numbers], "y": self.x[numbers] @ TRUTH}

    def after_backward(self) -> None:
        self.let_go += 1

    def describe(self):
        return {"data": len(self.x)}

    def sample(self, path: Path) -> None:
        torch.rand(5)  # a sampler that draws from the global generator
        self.shown.append(self.objective.head.weight.detach().clone())
        path.write_text("picture")

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.objective.state_dict(), folder / "line.pt")


def settings(**changes) -> Settings:
    values = {
        "steps": 8, "batch": 4, "learning_rate": 1e-2, "warm_up": 3, "every_log": 2, "every_checkpoint": 3,
        "every_sample": 4, "ema_decay": 0.9,
    }  # fmt: skip
    return Settings(**{**values, **changes})


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder, *ends = sys.argv[1:]
    encode_once(ShapesWorld(1, 64, 64), 2, make_autoencoder(), Path(folder) / "latents", {})
    for end in ends:
        Trainer(LineTask(), settings(steps=int(end)), Path(folder)).run()
