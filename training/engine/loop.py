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
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from diffusers.training_utils import EMAModel

from .account.announcement import announce, say
from .account.memory import out_of_memory
from .account.words import time_line
from .batches import to_device
from .card import write_card
from .checkpoint import check_same, has_run, keep_best, read_run, shared_parts, write_run
from .divergence import Divergence
from .fingerprint import comparable, of_frozen, of_start, same_start
from .held_out import held_out_loss
from .interruption import Interrupted, Interruption
from .metrics import forget_metrics, mean, write_metrics
from .order import generator_at, seed_masks
from .players import Turn, make_turns
from .precision import forget_precision
from .processes import wait_for_all
from .progress import progress_bar
from .run_file import changed_options, options_of, write_run_file
from .settings import Settings
from .sharding import collected, part_like, shared_out, whole
from .task import BatchPosition, Player, Task
from .trackers import PROJECT, trackers_of

logger = logging.getLogger("instance_composer")

# These decide the numbers of a run; the others may change when it is continued. So do parts times processes.
_FIXED = ("batch", "beta1", "beta2", "epsilon", "ema_decay", "seed", "mixed_precision", "optimizer")
# Steps after which the time that is left is told: the first ones are slower.
_TIMED = 10
# Beside digests of the weights with which a run began: with how many processes it did.
_BEGAN = "processes"


class Trainer:
    """One run: the task, an optimizer for each of its players, and averaged weights.

    A `folder` holds checkpoint, metrics (`metrics.jsonl`, one line every few steps), sample pictures and the
    exported model. The loss on what a task holds out, with averaged weights and always the same noise, is
    measured every few steps, and the checkpoint where it was lowest is kept.

    If the folder already holds a checkpoint, the run continues from there exactly as if it had never
    stopped; `ResumeError` when it was started with settings that would make that impossible. Another number
    of processes goes on with as many batches a step: `accumulate` is made to fit.

    A step whose gradient is not finite moves nothing; after 25 of them in a row, or when a weight is not
    finite, `DivergedError`, and the last checkpoint stays as it is.

    `options`, the dataclass of what else a run was asked for, goes with settings and versions into `run.toml`
    and into the card of the exported model.
    """

    def __init__(self, task: Task[Any], settings: Settings, folder: Path, options: Any = None) -> None:
        self.task, self.settings, self.folder, self.options = task, settings, folder, options
        self._frozen, self._start = of_frozen(task.objective), of_start(task.objective)
        # In one player's turn the parameters of the others get no gradient.
        several = DistributedDataParallelKwargs(find_unused_parameters=len(task.players) > 1)
        forget_precision()
        self.accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            kwargs_handlers=[several],
            log_with=list(trackers_of(settings)) or None,
            project_dir=folder,
        )
        self._shards, self._estimate = shared_out(task, settings, self.accelerator, has_run(folder))
        self.turns = make_turns(task, settings)
        optimizers = [turn.optimizer for turn in self.turns]
        if self._shards is None:
            self.objective, *optimizers = self.accelerator.prepare(task.objective, *optimizers)
        else:
            self.objective = task.objective
            optimizers = [self.accelerator.prepare(one) for one in optimizers]
        for turn, optimizer in zip(self.turns, optimizers, strict=True):
            turn.optimizer = optimizer
        self.trained = self.turns[0].trained
        self.average = EMAModel(
            self.trained, decay=settings.ema_decay, use_ema_warmup=True, power=0.75, foreach=True
        )
        self.step = 0
        self._parts = settings.accumulate
        self._together = self.accelerator.num_processes
        self._divergence = Divergence(folder)
        self._best: dict[str, float] | None = None
        self._validation: float | None = None
        self._interruption = Interruption()
        # What the checkpoint says of the task.
        self._described: dict[str, Any] = {}
        self._resume()

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
                if improved or ends or self._due(self.settings.every_checkpoint):
                    self.save(last=ends)
                if improved:
                    self._keep_best()
                if ends:
                    raise Interrupted(f"ended after step {self.step}; the same command goes on from there")
                if self._due(self.settings.every_sample):
                    self.show()
        self.save(last=True)
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
        # Parts of other processes are in the state of one that is shared out.
        if (main or self._shards is not None) and (last or not skipped):
            state = self.state()
            if main:
                keep = self.settings.keep_checkpoints
                write_run(self.folder, state, max(keep, 2) if skipped else keep)
            self._divergence.saved = self.step
        wait_for_all()

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on, besides the code and the data.

        Of what is shared out the main process alone has tensors, on the CPU; all processes must ask.
        """
        scaler = self.accelerator.scaler
        first, *others = self.turns
        began = {_BEGAN: self._together} if self._together else {}
        state = {
            "step": self.step,
            "settings": self.settings.to_dict(),
            "task": dict(self.task.describe()),
            "frozen": self._frozen,
            "start": {**self._start, **began},
            "processes": self.accelerator.num_processes,
            "weights": self._weights(),
            "average": self.average.state_dict(),
            "optimizer": first.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": torch.get_rng_state(),
        }
        if rests_on := dict(self.task.rests_on()):
            state["rests_on"] = rests_on
        if self._best is not None:
            state["best"] = self._best
        if self._parts != self.settings.accumulate:
            state["parts"] = self._parts
        if others:
            state["other_optimizers"] = {turn.player.name: turn.optimizer.state_dict() for turn in others}
        return state if self._shards is None else collected(state, self.accelerator.is_main_process)

    def _weights(self) -> dict[str, torch.Tensor]:
        """Weights that are trained, and buffers that change with them."""
        # Two models may share what is not trained, each under names of its own.
        named = self.task.objective.named_parameters(remove_duplicate=False)
        fixed = {name for name, p in named if not p.requires_grad}
        return {k: v for k, v in self.task.objective.state_dict().items() if k not in fixed}

    def _whole_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The same, each whole for as long as it is looked at; all processes must ask."""
        for name, weight in self._weights().items():
            yield name, whole(weight)

    def _resume(self) -> None:
        state = read_run(self.folder)
        if state is None:
            return
        # A setting that the run's version did not know had its default.
        before, now = {**Settings().to_dict(), **state["settings"]}, self.settings.to_dict()
        check_same("settings", {k: before[k] for k in _FIXED}, {k: now[k] for k in _FIXED})
        self._described = state["task"]
        known = dict(self.task.describe())
        known |= {name: self._described.get(name) for name, value in known.items() if value is None}
        check_same("model or data", self._described, known)
        rested, rests = state.get("rests_on", {}), dict(self.task.rests_on())
        check_same("model or data", rested, {name: rests.get(name) for name in rested})
        # Runs of earlier versions did not keep it.
        if "frozen" in state:
            frozen = comparable(state["frozen"], self._frozen)
            check_same("model: what is not trained has other weights", *frozen)
        start = dict(state.get("start", {}))
        # Earlier versions took turns between sizes of pictures in another order, in which their runs go on.
        self._together = start.pop(_BEGAN, 0)
        if start:
            check_same("start: weights to train from", *same_start(start, self._start))
        kept = state.get("other_optimizers", {})
        names = [turn.player.name for turn in self.turns[1:]]
        check_same("model", {"other players": [*kept]}, {"other players": names})
        processes = self.accelerator.num_processes
        if processes == state["processes"]:
            check_same("settings", *({"accumulate": one["accumulate"]} for one in (before, now)))
        parts = state.get("parts", before["accumulate"])
        self._parts = shared_parts(parts * state["processes"], now["accumulate"], processes)
        weights = state["weights"]
        if self._shards is not None:
            own = self.task.objective.state_dict()
            weights = {k: part_like(v, own[k]) if k in own else v for k, v in weights.items()}
        self.task.objective.load_state_dict(weights, strict=False)
        average = dict(state["average"])
        # One after the other: together they would be copied whole first.
        pairs = zip(average.pop("shadow_params"), self.trained, strict=True)
        self.average.shadow_params = [part_like(shadow, p) for shadow, p in pairs]
        self.average.load_state_dict(average)
        first, *others = self.turns
        first.load(state["optimizer"])
        for turn in others:
            turn.load(kept[turn.player.name])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        self.step = self._divergence.saved = state["step"]
        self._best = state.get("best")
        if self.accelerator.is_main_process:
            forget_metrics(self.folder, self.step)
        logger.info("continuing %s after step %d", self.folder, self.step)

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
    trainer = Trainer(task, settings, folder, options)
    trainer.tell()
    if not dry_run:
        trainer.prepare()
        trainer.run()
