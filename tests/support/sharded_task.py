"""Runs in processes that share out what is trained, and the same runs in which each holds all of it.

`sharded_task.py FOLDER [SDXL]` trains in two processes into `FOLDER/shared`, interrupted once, and into
`FOLDER/plain`; with a tiny SDXL's folder an adapter on it too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from line_task import LineTask, settings
from torch import nn

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.training.engine.loop import Trainer, train


class Gated(nn.Module):
    """A single number, a frozen part, a buffer, and layers that do not divide by two."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 5)
        self.fixed = nn.Linear(5, 5).requires_grad_(False)
        self.head = nn.Linear(5, 1)
        self.gate = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch, generator):
        if self.training:
            self.seen += 1
        noisy = batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=generator)
        error = self.gate * self.head(self.fixed(self.body(noisy)).tanh())[:, 0] - batch["y"]
        return {"loss": error.square().mean()}


class GatedTask(LineTask):
    held_out_count = 6

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.objective = Gated()

    def validation_batches(self, size):
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(9))
        return [{"x": part, "y": part @ torch.tensor([1.0, -2.0, 0.5])} for part in x.split(size)]

    def sample(self, path: Path) -> None:
        weights = {name: p.detach().clone() for name, p in self.objective.named_parameters()}
        torch.save(weights, path.with_suffix(".pt"))


def of_gated(**changes):
    return settings(accumulate=2, clip=0.5, every_validation=2, **changes)


def adapter_task(folder: str):
    from latent_sets import latent_set
    from training_tasks import make_task, open_gates

    from instance_composer.shapes_world import ShapesWorld

    world = ShapesWorld(seed=1, width=64, height=64, figures=2)
    layouts = [world[number].layout.to_dict() for number in range(8)]
    latents = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    task = make_task("ifadapter", load_sdxl(folder), latent_set(latents, layouts))
    open_gates(task.adapter)
    return task


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    target, *model = sys.argv[1:]
    for name, fsdp in (("plain", False), ("shared", True)):
        for steps in (4, 8):
            train(GatedTask(), of_gated(steps=steps, fsdp=fsdp), Path(target) / name)
        for one in model:
            chosen = {"steps": 3, "batch": 2, "every_sample": 0, "warm_up": 0, "mixed_precision": "no"}
            trainer = Trainer(
                adapter_task(one), settings(**chosen, fsdp=fsdp), Path(target) / f"{name}-adapter"
            )
            trainer.run()
