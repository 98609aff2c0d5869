"""A run between two steps: all that a checkpoint keeps of it, and how it goes on from one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from diffusers.training_utils import EMAModel

from .checkpoint import check_same, has_run, read_run, shared_parts
from .divergence import Divergence
from .fingerprint import comparable, of_frozen, of_start, same_start
from .metrics import forget_metrics, trackers_of
from .players import make_turns
from .precision import forget_precision
from .settings import Settings
from .sharding import collected, part_like, shared_out, whole
from .task import Task

logger = logging.getLogger("instance_composer")

# These decide the numbers of a run; the others may change when it is continued. So do parts times processes.
_FIXED = ("batch", "beta1", "beta2", "epsilon", "ema_decay", "seed", "mixed_precision", "optimizer")
# Beside digests of the weights with which a run began: with how many processes it did.
_BEGAN = "processes"


class Run:
    """Everything that the next step of a run depends on, in a `folder` that may hold a checkpoint.

    If it does, the run continues from there exactly as if it had never stopped; `ResumeError` when it was
    started with settings that would make that impossible. Another number of processes goes on with as many
    batches a step: the parts of a step are made to fit. What was measured on other held-out samples than
    these is not compared with. A `dry_run` is looked at and leaves its folder as it is.
    """

    def __init__(self, task: Task[Any], settings: Settings, folder: Path, *, dry_run: bool = False) -> None:
        self.task, self.settings, self.folder = task, settings, folder
        self._frozen, self._start = of_frozen(task.objective), of_start(task.objective)
        self._held_out = task.held_out_mark()
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
        # What the checkpoint says of the task.
        self._described: dict[str, Any] = {}
        self._resume(dry_run)

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
            if self._held_out:
                state["held_out"] = self._held_out
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

    def _resume(self, dry_run: bool) -> None:
        state = read_run(self.folder)
        if state is None:
            return
        self._check(state)
        self._load(state)
        # Of a run that may be under way a dry run rewrites nothing.
        if self.accelerator.is_main_process:
            forget_metrics(self.folder, self.step, write=not dry_run)
        logger.info("continuing %s after step %d", self.folder, self.step)

    def _check(self, state: dict[str, Any]) -> None:
        """`ResumeError` unless this is the run of the checkpoint; as many batches a step as it makes."""
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
        parts = state.get("parts", before["accumulate"])
        # A run that went on with other processes has told that number itself.
        if processes == state["processes"] and now["accumulate"] != parts:
            check_same("settings", *({"accumulate": one["accumulate"]} for one in (before, now)))
        self._parts = shared_parts(parts * state["processes"], now["accumulate"], processes)

    def _load(self, state: dict[str, Any]) -> None:
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
            turn.load(state["other_optimizers"][turn.player.name])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        self.step = self._divergence.saved = state["step"]
        self._best = self._comparable_best(state)

    def _comparable_best(self, state: dict[str, Any]) -> dict[str, float] | None:
        """The lowest loss on what is held out, None where that was something else."""
        best = state.get("best")
        # Checkpoints of before this was noted are of what is held out now, as far as anybody knows.
        if best is None or state.get("held_out", self._held_out) == self._held_out:
            return best
        logger.info(
            "other samples are held out than before: step %d, which was best on those, is not compared with",
            best["step"],
        )
        return None
