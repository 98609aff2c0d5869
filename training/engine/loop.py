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
from accelerate.utils import DistributedDataParallelKwargs
from diffusers.training_utils import EMAModel

from .checkpoint import check_same, read_run, write_run
from .order import generator_at
from .players import Turn, make_turns
from .progress import progress_bar
from .settings import Settings
from .task import BatchPosition, Player, Task

logger = logging.getLogger("instance_composer")

# These decide the numbers of a run; the others may change when it is continued.
_FIXED = ("batch", "accumulate", "beta1", "beta2", "epsilon", "ema_decay", "seed", "mixed_precision")


class OutOfMemoryError(ValueError):
    """The model and a batch do not fit into the device's memory."""


class Trainer:
    """One run: the task, an optimizer for each of its players, and averaged weights.

    A `folder` holds checkpoint, metrics (`metrics.jsonl`, one line every few steps), sample pictures and the
    exported model. If it already holds a checkpoint, the run continues from there exactly as if it had never
    stopped; `ResumeError` when it was started with settings that would make that impossible.
    """

    def __init__(self, task: Task[Any], settings: Settings, folder: Path) -> None:
        self.task, self.settings, self.folder = task, settings, folder
        self.turns = make_turns(task, settings)
        # In one player's turn the parameters of the others get no gradient.
        several = DistributedDataParallelKwargs(find_unused_parameters=len(self.turns) > 1)
        self.accelerator = Accelerator(mixed_precision=settings.mixed_precision, kwargs_handlers=[several])
        self.objective, *optimizers = self.accelerator.prepare(
            task.objective, *(turn.optimizer for turn in self.turns)
        )
        for turn, optimizer in zip(self.turns, optimizers, strict=True):
            turn.optimizer = optimizer
        self.trained = self.turns[0].trained
        self.average = EMAModel(
            self.trained, decay=settings.ema_decay, use_ema_warmup=True, power=0.75, foreach=True
        )
        self.step = 0
        self._resume()

    def run(self) -> None:
        """Train up to the number of steps in the settings."""
        progress = progress_bar(
            "train", "step", self.settings.steps, self.step, shown=self.accelerator.is_main_process
        )
        loss = self.turns[0].player.loss
        recent: list[dict[str, float]] = []
        started = time.perf_counter()
        with progress:
            while self.step < self.settings.steps:
                recent.append(self.advance())
                progress.update()
                progress.set_postfix(loss=f"{recent[-1][loss]:.4f}", refresh=False)
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
        report: dict[str, float] = {}
        for number, turn in enumerate(self.turns):
            found = self._take(turn)
            if number:
                found[f"{turn.player.name}_gradient"] = found.pop("gradient")
            report |= found
        self.average.step(self.trained)
        self.step += 1
        return report

    def _take(self, turn: Turn) -> dict[str, float]:
        """One player's step."""
        turn.set_rate(self.settings.rate(self.step) * self.settings.learning_rate)
        clip = self.settings.clip if turn.player.clip is None else turn.player.clip
        totals: dict[str, float] = {}
        try:
            with turn.alone():
                for part in range(self.settings.accumulate):
                    for name, value in self._backward(turn.player, part).items():
                        totals[name] = totals.get(name, 0.0) + value / self.settings.accumulate
            norm = self.accelerator.clip_grad_norm_(turn.trained, clip)
            turn.optimizer.step()
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(self._advice()) from error
        turn.optimizer.zero_grad()
        return {**totals, "gradient": float(norm) if norm is not None else 0.0}

    def _backward(self, player: Player, part: int) -> dict[str, float]:
        accelerator, settings = self.accelerator, self.settings
        position = BatchPosition(
            self.step, part, accelerator.process_index, settings.accumulate, accelerator.num_processes
        )
        batch = _to_device(self.task.batch(position, settings.batch, settings.seed), accelerator.device)
        generator = generator_at(position, settings.seed, accelerator.device)
        whose = {"player": player.name} if len(self.turns) > 1 else {}
        last = part == settings.accumulate - 1
        with nullcontext() if last else accelerator.no_sync(self.objective):
            with accelerator.autocast():
                report = self.objective(batch, generator, **whose)
            accelerator.backward(report[player.loss] / settings.accumulate)
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
        first, *others = self.turns
        state = {
            "step": self.step,
            "settings": self.settings.to_dict(),
            "task": dict(self.task.describe()),
            "processes": self.accelerator.num_processes,
            "weights": self._weights(),
            "average": self.average.state_dict(),
            "optimizer": first.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": torch.get_rng_state(),
        }
        if others:
            state["other_optimizers"] = {turn.player.name: turn.optimizer.state_dict() for turn in others}
        return state

    def _weights(self) -> dict[str, torch.Tensor]:
        """Weights that are trained, and buffers that change with them."""
        # Two models may share what is not trained, each under names of its own.
        named = self.task.objective.named_parameters(remove_duplicate=False)
        fixed = {name for name, p in named if not p.requires_grad}
        return {k: v for k, v in self.task.objective.state_dict().items() if k not in fixed}

    def _resume(self) -> None:
        state = read_run(self.folder)
        if state is None:
            return
        before, now = state["settings"], self.settings.to_dict()
        check_same("settings", {k: before[k] for k in _FIXED}, {k: now[k] for k in _FIXED})
        check_same("model or data", state["task"], dict(self.task.describe()))
        kept = state.get("other_optimizers", {})
        names = [turn.player.name for turn in self.turns[1:]]
        check_same("model", {"other players": [*kept]}, {"other players": names})
        processes = self.accelerator.num_processes
        check_same("set-up", {"number of processes": state["processes"]}, {"number of processes": processes})
        self.task.objective.load_state_dict(state["weights"], strict=False)
        self.average.load_state_dict(state["average"])
        self.average.to(device=self.accelerator.device)
        first, *others = self.turns
        first.load(state["optimizer"])
        for turn in others:
            turn.load(kept[turn.player.name])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        self.step = state["step"]
        self._forget_metrics()
        logger.info("continuing %s after step %d", self.folder, self.step)

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
