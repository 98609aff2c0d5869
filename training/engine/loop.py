"""The training loop: it knows no model, only a `Task`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from .account.announcement import announce, say
from .account.memory import out_of_memory
from .account.words import time_line
from .batches import to_device
from .card import write_card
from .checkpoint import check_same, has_run, keep_best, write_run
from .held_out import held_out_loss
from .interruption import Interrupted, Interruption
from .metrics import PROJECT, mean, write_metrics
from .order import generator_at, seed_masks
from .players import Turn
from .processes import wait_for_all
from .progress import progress_bar
from .run import Run
from .run_file import changed_options, options_of, write_run_file
from .settings import Settings
from .sharding import whole
from .task import BatchPosition, Player, Task

logger = logging.getLogger("instance_composer")

# Steps after which the time that is left is told: the first ones are slower.
_TIMED = 10


class Trainer(Run):
    """One run: the task, an optimizer for each of its players, and averaged weights.

    A `folder` holds checkpoint, metrics (`metrics.jsonl`, one line every few steps), sample pictures and the
    exported model. The loss on what a task holds out, with averaged weights and always the same noise, is
    measured every few steps, and the checkpoint where it was lowest is kept.

    A step whose gradient is not finite moves nothing; after 25 of them in a row, or when a weight is not
    finite, `DivergedError`, and the last checkpoint stays as it is.

    `options`, the dataclass of what else a run was asked for, goes with settings and versions into `run.toml`
    and into the card of the exported model.
    """

    def __init__(
        self,
        task: Task[Any],
        settings: Settings,
        folder: Path,
        options: Any = None,
        *,
        dry_run: bool = False,
    ) -> None:
        super().__init__(task, settings, folder, dry_run=dry_run)
        self.options = options
        self._validation: float | None = None
        self._interruption = Interruption()

    def run(self) -> None:
        """Train up to the number of steps in the settings; `Interrupted`, all saved, when asked to end."""
        progress = progress_bar(
            "train", "step", self.settings.steps, self.step, shown=self.accelerator.is_main_process
        )
        loss = self.turns[0].player.loss
        recent: list[dict[str, float]] = []
        # Sampling and saving are no part of a step's time.
        seconds = 0.0
        first = self.step
        times: list[float] = []
        if self.options is not None and self.accelerator.is_main_process:
            write_run_file(self.folder, self.options, self.settings)
        if self.settings.trackers:
            self.accelerator.init_trackers(PROJECT, config=self.settings.to_dict())
        with progress, self._interruption.awaited():
            while self.step < self.settings.steps:
                started = time.perf_counter()
                recent.append(self.advance())
                times.append(time.perf_counter() - started)
                seconds += times[-1]
                progress.update()
                progress.set_postfix(loss=f"{recent[-1][loss]:.4f}", refresh=False)
                if self.step - first == _TIMED:
                    say(self.accelerator, time_line(times, max(0, self.settings.steps - self.step)))
                    times = []
                improved = self._due(self.settings.every_validation) and self.validate()
                ends = self._interruption.of_any(self.accelerator) and self.step < self.settings.steps
                # What was measured stands at its own step, and no step is without a line.
                measured = self._validation is not None
                if measured or self._ends_a_line(ends):
                    self._log(recent, seconds)
                    recent, seconds = [], 0.0
                # What follows the last step is done once, behind it.
                done = self.step >= self.settings.steps
                if improved or ends or (self._due(self.settings.every_checkpoint) and not done):
                    self.save(last=ends or done)
                if improved:
                    self._keep_best()
                if ends:
                    raise Interrupted(f"ended after step {self.step}; the same command goes on from there")
                if self._due(self.settings.every_sample) and not done:
                    self.show()
        if self._divergence.saved != self.step:
            self.save(last=True)
        # Of a run that was finished before as well: what was exported may be cut off, or have another card.
        self.show()
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _ends_a_line(self, ends: bool) -> bool:
        return ends or self.step == self.settings.steps or self._due(self.settings.every_log)

    def tell(self) -> None:
        """Say what the run learns from, what it will do and what that takes.

        `OutOfMemoryError` where it would not fit into memory.
        """
        changes = changed_options(self.folder, self.options) if self.step else ()
        announce(self.task, self.settings, self.accelerator, self.step, self._parts, changes, self._estimate)

    def prepare(self) -> None:
        """Let the task make what it needs; `ResumeError` where that turns out to be something else."""
        before = dict(self.task.describe())
        self.task.prepare()
        if self.step:
            now = dict(self.task.describe())
            # Values that only making it has told are those of the checkpoint.
            told = {name: self._described.get(name) for name, value in before.items() if value is None}
            check_same("model or data", {**before, **told}, now)

    def validate(self) -> bool:
        """Measure the loss on what is held out; whether it is the lowest so far."""
        batches = self.task.validation_batches(self.settings.batch)
        if not batches or self._divergence.skipped:
            return False
        player = self.turns[0].player
        with torch.random.fork_rng(), self.averaged():
            self._validation = held_out_loss(
                self.task, player, batches, self.accelerator, self._whose(player)
            )
        best = math.inf if self._best is None else self._best["validation"]
        if not self._validation < best:
            return False
        self._best = {"step": self.step, "validation": self._validation}
        return True

    def _keep_best(self) -> None:
        if self.accelerator.is_main_process and not self._divergence.skipped:
            keep_best(self.folder)
        wait_for_all()

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
                for part in range(self._parts):
                    for name, value in self._backward(turn.player, part).items():
                        totals[name] = totals.get(name, 0.0) + value / self._parts
            if self._shards is not None:
                self._shards.average_single()
            norm = self.accelerator.clip_grad_norm_(turn.trained, clip)
            gradient = float(whole(norm)) if norm is not None else 0.0
            # A loss scale learns from gradients that overflow, and skips the step itself.
            if math.isfinite(gradient) or self.accelerator.scaler is not None:
                turn.optimizer.step()
        except torch.OutOfMemoryError as error:
            device = self.accelerator.device
            trouble = f"a batch of {self.settings.batch} does not fit into the memory of {device}"
            begun = has_run(self.folder)
            raise out_of_memory(trouble, self.settings, self.task, begun) from error
        turn.optimizer.zero_grad()
        self._divergence.count(self.step, math.isfinite(gradient), turn.player.name)
        return {**totals, "gradient": gradient}

    def _backward(self, player: Player, part: int) -> dict[str, float]:
        accelerator, settings = self.accelerator, self.settings
        position = BatchPosition(
            self.step,
            part,
            accelerator.process_index,
            self._parts,
            accelerator.num_processes,
            self._together,
        )
        batch = to_device(self.task.batch(position, settings.batch, settings.seed), accelerator.device)
        generator = generator_at(position, settings.seed, accelerator.device)
        seed_masks(position, settings.seed)
        last = part == self._parts - 1
        if self._shards is not None:
            self._shards.synchronise(last)
        with nullcontext() if last or self._shards is not None else accelerator.no_sync(self.objective):
            with accelerator.autocast():
                report = self.objective(batch, generator, **self._whose(player))
            accelerator.backward(report[player.loss] / self._parts)
            self.task.after_backward()
        return {name: float(value.detach()) for name, value in report.items()}

    def _whose(self, player: Player) -> dict[str, str]:
        """What the objective is told of whose turn it is, where there are several players."""
        return {"player": player.name} if len(self.turns) > 1 else {}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the task's weights are the averaged ones."""
        with self._averages():
            self.task.objective.eval()
            try:
                yield
            finally:
                self.task.objective.train()

    @contextmanager
    def _averages(self) -> Iterator[None]:
        if self._shards is not None:
            with self._shards.holding(self.average.shadow_params):
                yield
            return
        self.average.store(self.trained)
        self.average.copy_to(self.trained)
        try:
            yield
        finally:
            self.average.restore(self.trained)

    def show(self) -> None:
        """Write a sample picture and the exported model, both from the averaged weights."""
        self._divergence.check(self.step, self._whole_weights())
        main = self.accelerator.is_main_process
        if main or self._shards is not None:
            # Sampling must not disturb the run's own random numbers.
            with torch.random.fork_rng(), torch.no_grad(), self.averaged():
                if main:
                    path = self.folder / "samples" / f"{self.step:06d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self.task.sample(path)
                    self.task.export(self.folder / "model")
        if main and self.options is not None:
            self._write_card()
        wait_for_all()

    def _write_card(self) -> None:
        samples = self.step * self.settings.batch * self._parts * self.accelerator.num_processes
        best = None if self._best is None else self._best["validation"]
        options = options_of(self.options)
        write_card(self.folder / "model", options, self.settings, self.step, samples, best)

    def save(self, last: bool = False) -> None:
        """Write the checkpoint; none while steps move nothing, which would push a good one out.

        The `last` one of a run that ends is written all the same, for a step that moved nothing lost nothing;
        the one before it stays then.
        """
        self._divergence.check(self.step, self._whole_weights())
        main, skipped = self.accelerator.is_main_process, self._divergence.skipped
        if last or not skipped:
            # Parts of other processes are in the state of one that is shared out.
            state = self.state() if main or self._shards is not None else None
            if main and state is not None:
                keep = self.settings.keep_checkpoints
                write_run(self.folder, state, max(keep, 2) if skipped else keep)
            # Of all processes, which ask by it together whether to save.
            self._divergence.saved = self.step
        wait_for_all()

    def _log(self, recent: list[dict[str, float]], seconds: float) -> None:
        """One line of means over the steps since the last, of each name over the steps that tell it."""
        validation, self._validation = self._validation, None
        if not self.accelerator.is_main_process:
            return
        names = dict.fromkeys(name for step in recent for name in step)
        line = {
            "step": self.step,
            **{name: mean([step[name] for step in recent if name in step]) for name in names},
            "rate": self.settings.rate(self.step - 1) * self.settings.learning_rate,
            "seconds_per_step": round(seconds / len(recent), 4),
        }
        if validation is not None:
            line["validation"] = mean([validation])
        told = {name: value for name, value in line.items() if name != "step" and value is not None}
        self.accelerator.log(told, step=self.step)
        write_metrics(self.folder, line)

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0


def train(
    task: Task[Any], settings: Settings, folder: Path, options: Any = None, *, dry_run: bool = False
) -> None:
    """Say what a run will do and take, and do it unless it is a dry run; `options` as for `Trainer`."""
    trainer = Trainer(task, settings, folder, options, dry_run=dry_run)
    trainer.tell()
    if not dry_run:
        trainer.prepare()
        trainer.run()
