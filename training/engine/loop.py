"""The training loop: it knows no model, only a `Task`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn
from tqdm import tqdm

from .checkpoint import check_same, read_run, write_run
from .order import generator_at
from .settings import Settings
from .task import Place, Task, parameter_groups

logger = logging.getLogger("instance_composer")

# These decide the numbers of a run; the others may change when it is continued.
_FIXED = ("batch", "accumulate", "beta1", "beta2", "epsilon", "ema_decay", "seed", "mixed_precision")


class OutOfMemoryError(ValueError):
    """The model and a batch do not fit into the device's memory."""


class Trainer:
    """One run: the task, its optimizer, its averaged weights and its place in the data.

    A `folder` holds checkpoint, metrics (`metrics.jsonl`, one line every few steps), sample pictures and the
    exported model. If it already holds a checkpoint, the run continues from there exactly as if it had never
    stopped; `ResumeError` when it was started with settings that would make that impossible.
    """

    def __init__(self, task: Task, settings: Settings, folder: Path) -> None:
        self.task, self.settings, self.folder = task, settings, folder
        self.accelerator = Accelerator(mixed_precision=settings.mixed_precision)
        groups = parameter_groups(
            task.objective.named_parameters(), settings.weight_decay, getattr(task, "rate_scales", None)
        )
        optimizer = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            fused=True,
        )
        self.objective, self.optimizer = self.accelerator.prepare(task.objective, optimizer)
        self.trained = [p for p in task.objective.parameters() if p.requires_grad]
        self.average = EMAModel(
            self.trained, decay=settings.ema_decay, use_ema_warmup=True, power=0.75, foreach=True
        )
        self.step = 0
        self._resume()

    def run(self) -> None:
        """Train up to the number of steps in the settings."""
        progress = tqdm(
            total=self.settings.steps,
            initial=self.step,
            desc="train",
            unit="step",
            disable=not self.accelerator.is_main_process,
            mininterval=5,
        )
        recent: list[dict[str, float]] = []
        started = time.perf_counter()
        with progress:
            while self.step < self.settings.steps:
                recent.append(self.advance())
                progress.update()
                progress.set_postfix(loss=f"{recent[-1]['loss']:.4f}", refresh=False)
                if self._due(self.settings.every_log):
                    self._log(recent, time.perf_counter() - started)
                    recent, started = [], time.perf_counter()
                if self._due(self.settings.every_checkpoint):
                    self.save()
                if self._due(self.settings.every_sample):
                    self.show()
        self.save()
        self.show()

    def advance(self) -> dict[str, float]:
        """One step; returns the mean of what the objective reported, and the norm of the gradient."""
        self.objective.train()
        rate = self.settings.rate(self.step) * self.settings.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        totals: dict[str, float] = {}
        try:
            for part in range(self.settings.accumulate):
                for name, value in self._backward(part).items():
                    totals[name] = totals.get(name, 0.0) + value / self.settings.accumulate
            norm = self.accelerator.clip_grad_norm_(self.trained, self.settings.clip)
            self.optimizer.step()
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(self._advice()) from error
        self.optimizer.zero_grad()
        self.average.step(self.trained)
        self.step += 1
        return {**totals, "gradient": float(norm) if norm is not None else 0.0}

    def _backward(self, part: int) -> dict[str, float]:
        accelerator, settings = self.accelerator, self.settings
        place = Place(
            self.step, part, accelerator.process_index, settings.accumulate, accelerator.num_processes
        )
        batch = _to_device(self.task.batch(place, settings.batch, settings.seed), accelerator.device)
        generator = generator_at(place, settings.seed, accelerator.device)
        last = part == settings.accumulate - 1
        with nullcontext() if last else accelerator.no_sync(self.objective):
            with accelerator.autocast():
                report = self.objective(batch, generator)
            accelerator.backward(report["loss"] / settings.accumulate)
            self.task.after_backward()
        return {name: float(value.detach()) for name, value in report.items()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the task's weights are the averaged ones."""
        self.average.store(self.trained)
        self.average.copy_to(self.trained)
        self.task.objective.eval()
        try:
            yield
        finally:
            self.average.restore(self.trained)
            self.task.objective.train()

    def show(self) -> None:
        """Write a sample picture and the exported model, both from the averaged weights."""
        if self.accelerator.is_main_process:
            path = self.folder / "samples" / f"{self.step:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Sampling must not disturb the run's own random numbers.
            with torch.random.fork_rng(), torch.no_grad(), self.averaged():
                self.task.sample(path)
                self.task.export(self.folder / "model")
        self.accelerator.wait_for_everyone()

    def save(self) -> None:
        """Write the checkpoint."""
        if self.accelerator.is_main_process:
            write_run(self.folder, self.state())
        self.accelerator.wait_for_everyone()

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on, besides the code and the data."""
        scaler = self.accelerator.scaler
        return {
            "step": self.step,
            "settings": self.settings.to_dict(),
            "task": dict(self.task.describe()),
            "processes": self.accelerator.num_processes,
            "weights": self._weights(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": torch.get_rng_state(),
        }

    def _weights(self) -> dict[str, torch.Tensor]:
        """What is trained, and buffers that change with it."""
        fixed = {name for name, p in self.task.objective.named_parameters() if not p.requires_grad}
        return {k: v for k, v in self.task.objective.state_dict().items() if k not in fixed}

    def _resume(self) -> None:
        state = read_run(self.folder)
        if state is None:
            return
        before, now = state["settings"], self.settings.to_dict()
        check_same("settings", {k: before[k] for k in _FIXED}, {k: now[k] for k in _FIXED})
        check_same("model or data", state["task"], dict(self.task.describe()))
        processes = self.accelerator.num_processes
        check_same("set-up", {"number of processes": state["processes"]}, {"number of processes": processes})
        self.task.objective.load_state_dict(state["weights"], strict=False)
        self.average.load_state_dict(state["average"])
        self.average.to(device=self.accelerator.device)
        self._load_optimizer(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        self.step = state["step"]
        self._forget_metrics()
        logger.info("continuing %s after step %d", self.folder, self.step)

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        """The moments from the checkpoint; rates and decay from the settings, which may have changed."""
        wanted = [group["weight_decay"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state)
        for group, decay in zip(self.optimizer.param_groups, wanted, strict=True):
            group["weight_decay"] = decay

    def _log(self, recent: list[dict[str, float]], seconds: float) -> None:
        """One line of means over the steps since the last."""
        if not self.accelerator.is_main_process:
            return
        means = {name: sum(r[name] for r in recent) / len(recent) for name in recent[0]}
        line = {
            "step": self.step,
            **{name: round(value, 6) for name, value in means.items()},
            "rate": self.settings.rate(self.step - 1) * self.settings.learning_rate,
            "seconds_per_step": round(seconds / len(recent), 4),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _forget_metrics(self) -> None:
        """Drop lines written after the checkpoint: those steps are done again."""
        path = self.folder / "metrics.jsonl"
        if self.accelerator.is_main_process and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _advice(self) -> str:
        size = self.settings.batch
        return (
            f"a batch of {size} does not fit into the memory of {self.accelerator.device}: "
            f"set batch to {max(1, size // 2)} and accumulate to {2 * self.settings.accumulate} (the same "
            "step in smaller parts), switch gradient checkpointing on, or train in mixed precision"
        )


def _to_device(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_to_device(value, device) for value in batch)
    return batch


def trained_module(objective: nn.Module) -> nn.Module:
    """The module itself, out of what accelerate wrapped around it."""
    return getattr(objective, "module", objective)
