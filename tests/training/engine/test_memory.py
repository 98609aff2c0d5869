"""The memory that a run says it needs, against what its steps really take."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from line_task import LineTask
from line_task import settings as line_settings
from torch import nn
from torch.profiler import ProfilerActivity, profile
from training_tasks import make_task, open_gates, settings

from instance_composer.training.engine.account.measure import measure
from instance_composer.training.engine.account.memory import needed
from instance_composer.training.engine.loop import Trainer

CPU = torch.device("cpu")


def highest(run: Callable[[], None]) -> int:
    """Bytes that torch took on the CPU at the most during a call, beside those it had taken before."""
    # What an earlier call left over would be given back within this one, and counted against it.
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        taken += event.nbytes()
        most = max(most, taken)
    return most


def compared(task, chosen, folder) -> float:
    """What a run is said to need, as a multiple of what its first steps take."""
    model = task.objective
    there = {t.data_ptr(): t.nbytes for t in (*model.parameters(), *model.buffers())}

    def steps() -> None:
        trainer = Trainer(task, chosen, folder)
        for _ in range(2):
            trainer.advance()

    real = sum(there.values()) + highest(steps)
    cost = measure(task, chosen, CPU, lambda batch: batch)
    return needed(model, cost, parts=chosen.accumulate) / real


class Layers(nn.Module):
    """Layers of `width` on `rows` rows a sample."""

    def __init__(self, width: int, rows: int, frozen: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(6))
        self.layers[:frozen].requires_grad_(False)
        self.width, self.rows = width, rows

    def forward(self, batch, generator):
        x = torch.randn(len(batch["x"]) * self.rows, self.width, generator=generator)
        for layer in self.layers:
            x = nn.functional.gelu(layer(x))
        return {"loss": x.square().mean()}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("width", "rows", "batch", "frozen"),
    [(192, 1, 1, 0), (192, 200, 1, 0), (192, 200, 4, 0), (48, 400, 8, 0), (192, 100, 2, 3)],
)
def test_weights_moments_and_activations_at_several_sizes(tmp_path, width, rows, batch, frozen, parts):
    """Never less than is taken, and not a third more: of weights almost only, of activations almost only."""
    task = LineTask()
    task.objective = Layers(width, rows, frozen)
    ratio = compared(task, line_settings(batch=batch, accumulate=parts), tmp_path)
    assert 1.0 <= ratio <= 1.35


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_real_task(pipeline, latents, tmp_path, checkpointing):
    """The IFAdapter on a small SDXL; pictures stay as small, so only the batch is larger."""
    task = make_task("ifadapter", pipeline, latents)
    open_gates(task.adapter)
    if checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    assert 1.0 <= compared(task, settings(batch=8), tmp_path) <= 1.35
