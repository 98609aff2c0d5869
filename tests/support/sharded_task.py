"""Runs in processes that share out what is trained, and the same runs in which each holds all of it.

`sharded_task.py FOLDER [SDXL]` trains in two processes into `FOLDER/shared`, interrupted once, and into
`FOLDER/plain`; with a tiny SDXL's folder an adapter on it too. What each process holds of the shared run when
it goes on is written into `FOLDER/held-RANK.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from line_task import LineTask, settings
from torch import nn
from torch.distributed.tensor import DTensor

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


def tensors(state, prefix=""):
    """All tensors of a state by their places in it."""
    items = state.items() if isinstance(state, dict) else enumerate(state)
    for name, value in items:
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, dict | list | tuple):
            yield from tensors(value, f"{prefix}{name}.")


def write_held(trainer: Trainer, folder: Path) -> None:
    """Bytes of what is shared out and of the memory it lies in, and where the tensors of a state are."""
    shared = {
        name: one.to_local()
        for name, one in tensors(
            {"average": trainer.average.shadow_params, "moments": trainer.turns[0].optimizer.state_dict()}
        )
        if isinstance(one, DTensor)
    }
    held = {
        "parts": {name: [one.nbytes, one.untyped_storage().nbytes()] for name, one in shared.items()},
        "state": {name: [str(one.device), one.ndim] for name, one in tensors(trainer.state())},
        "step": trainer.step,
    }
    (folder / f"held-{trainer.accelerator.process_index}.json").write_text(json.dumps(held))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    target, *model = sys.argv[1:]
    for name, fsdp in (("plain", False), ("shared", True)):
        for steps in (4, 8):
            train(GatedTask(), of_gated(steps=steps, fsdp=fsdp), Path(target) / name)
        if fsdp:
            write_held(Trainer(GatedTask(), of_gated(steps=9, fsdp=True), Path(target) / name), Path(target))
        for one in model:
            chosen = {"steps": 3, "batch": 2, "every_sample": 0, "warm_up": 0, "mixed_precision": "no"}
            trainer = Trainer(
                adapter_task(one), settings(**chosen, fsdp=fsdp), Path(target) / f"{name}-adapter"
            )
            trainer.run()
