"""What a run will take, measured on its own model before it starts: time, and memory with a refusal."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor

from ..data.pictures import decode
from ..engine.checkpoint import read_run
from ..engine.loop import OutOfMemoryError
from ..engine.settings import Settings
from .prompts import Conditions
from .task import CoMatTask

logger = logging.getLogger("instance_composer")

# A trained weight has a gradient, two moments and an average beside it.
_COPIES = 4
# What allocators lose and single kernels need for a moment, as a share of the rest.
_SPARE = 0.1


def forecast(task: CoMatTask, settings: Settings, folder: Path, originals: int, state: PartialState) -> None:
    """Say what the run does and about how long it takes; `OutOfMemoryError` where it would not fit.

    `originals` are latents of the original model that are still to be made.
    """
    device = torch.device(state.device or "cpu")
    done = int((read_run(folder) or {"step": 0})["step"])
    try:
        measured = _Measured(task, settings, device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            _advice(f"one call of the UNet does not fit into {device}", settings)
        ) from error
    for line in _parts(task):
        logger.info("%s", line)
    needed, there = measured.memory(), _memory_of(device)
    logger.info(
        "memory: about %s%s", _gigabytes(needed), f" of {_gigabytes(there)} on {device}" if there else ""
    )
    if there and needed > there:
        raise OutOfMemoryError(
            _advice(
                f"training needs about {_gigabytes(needed)}, and {device} has {_gigabytes(there)}", settings
            )
        )
    step = measured.step()
    making = measured.originals(originals) / state.num_processes
    left = max(0, settings.steps - done)
    logger.info(
        "time: about %s for %d steps of %s%s",
        _duration(left * step + making),
        left,
        _duration(step),
        f", of it {_duration(making)} for {originals} pictures of the original model" if originals else "",
    )


class _Measured:
    """Seconds and saved bytes of single calls, on batches of the run's size."""

    def __init__(self, task: CoMatTask, settings: Settings, device: torch.device) -> None:
        self.task, self.settings, self.device = task, settings, device
        objective = task.objective
        height, width = task.size[1], task.size[0]
        shape = (objective.unet.config["in_channels"], height // task.factor, width // task.factor)
        tokens = [ids.to(device) for ids in objective.prompts.tokens([task.prompts[0]])]
        self.weights = [p for p in objective.unet.parameters() if p.requires_grad]
        precision = torch.autocast(
            device.type, dtype=task.precision or torch.float32, enabled=task.precision is not None
        )
        training = objective.training
        objective.train()
        with precision:
            one = objective.prompts.encode(tokens, (height, width))
            rows = 2 * settings.batch
            latents = torch.zeros(rows, *shape, device=device)
            call = lambda: self._call(latents, one.repeated(rows))  # noqa: E731
            with torch.no_grad():
                call()  # the first one also chooses kernels
                self.plain, _ = self._timed(call)
            # Halves of the LoRA made without gradients would cut it off from its own.
            torch.clear_autocast_cache()
            self.learning, self.saved = self._timed(call, self.weights)
        picture = torch.zeros(1, *shape, device=device, requires_grad=True)
        self.judging, self.saved_in_judging = self._timed(lambda: self._judge(picture), [picture])
        objective.train(training)

    def memory(self) -> int:
        """Bytes at the end of the forward pass, when there is most."""
        objective = self.task.objective
        held = {t.data_ptr(): t.nbytes for t in (*objective.parameters(), *objective.buffers())}
        trained = sum(p.nbytes for p in objective.parameters() if p.requires_grad)
        calls = objective.sampling.gradient_steps + (0.5 if objective.discriminator is not None else 0)
        activations = calls * self.saved + self.settings.batch * self.saved_in_judging
        return int((sum(held.values()) + _COPIES * trained + activations) * (1 + _SPARE))

    def step(self) -> float:
        """Seconds of a step."""
        sampling, objective = self.task.objective.sampling, self.task.objective
        plain = sampling.steps - sampling.gradient_steps
        seconds = plain * self.plain + sampling.gradient_steps * self.learning
        seconds += self.settings.batch * self.judging
        if objective.balance.distance:
            seconds += sampling.gradient_steps * self.plain
        if objective.discriminator is not None:
            # Half the rows in the generator's turn, all of them in its own.
            seconds += 1.5 * self.learning
        return seconds * self.settings.accumulate

    def originals(self, count: int) -> float:
        """Seconds for latents of the original model."""
        return count / self.settings.batch * self.task.objective.sampling.steps * self.plain

    def _call(self, latents: Tensor, conditions: Conditions) -> Tensor:
        options = {} if conditions.added is None else {"added_cond_kwargs": conditions.added}
        return self.task.objective.unet(latents, 1, conditions.prompt, **options).sample

    def _judge(self, latents: Tensor) -> Tensor:
        objective = self.task.objective
        pictures = decode(objective.vae, latents) / 2 + 0.5
        if objective.captioner is None:
            return pictures
        return objective.captioner.likelihood(pictures, self.task.prompts[:1]).negative

    def _timed(self, call: Callable[[], Tensor], inputs: list[Any] | None = None) -> tuple[float, int]:
        """Seconds of a call, with `inputs` of its backward pass too, and the bytes kept for that."""
        own = {p.data_ptr() for p in self.task.objective.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        self._wait()
        started = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = call()
        if inputs:
            torch.autograd.grad(result.float().sum(), inputs, allow_unused=True)
        self._wait()
        return time.perf_counter() - started, sum(kept.values())

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _parts(task: CoMatTask) -> list[str]:
    """What a run learns from, a line for each part, and which are left out."""
    objective, balance = task.objective, task.objective.balance
    entities = task.entities or []
    with_entities = sum(bool(one.groups) for one in entities)
    return [
        f"concept matching: weight {balance.concept:g}, by {type(objective.captioner).__name__}"
        if balance.concept
        else "concept matching: off (weight 0)",
        f"attribute concentration: weights {balance.token:g} (token) and {balance.pixel:g} (pixel), masks by "
        f"{type(objective.segmenter).__name__}; {with_entities} of {len(entities)} prompts have an entity"
        if balance.token or balance.pixel
        else "attribute concentration: off (weights 0)",
        f"fidelity: weight {balance.fidelity:g}, a discriminator beside the LoRA"
        if objective.discriminator is not None
        else "fidelity: off (weight 0); without it pictures may become odd while the losses fall",
        f"distance from the original's predictions: weight {balance.distance:g}"
        if balance.distance
        else "distance from the original's predictions: off (weight 0)",
    ]


def _advice(trouble: str, settings: Settings) -> str:
    return (
        f"{trouble}: set batch to {max(1, settings.batch // 2)} and accumulate to {2 * settings.accumulate} "
        "(the same step in smaller parts), give --gradient-checkpointing, train in mixed precision, take "
        "fewer --gradient-steps, or leave the discriminator out (--fidelity-weight 0)"
    )


def _memory_of(device: torch.device) -> int:
    """All memory of a device in bytes, 0 if nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    names = getattr(os, "sysconf_names", {})
    if device.type == "cpu" and "SC_PHYS_PAGES" in names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
