"""What a step of CoMat takes, measured in single calls on batches of the run's size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..data.pictures import decode
from ..engine.account.measure import timed
from ..engine.settings import Settings
from ..engine.task import Cost
from .masks import models_of
from .objective import CoMatObjective
from .prompts import Conditions, PromptEntities


class Forecast(Protocol):
    """What is read of the task."""

    objective: CoMatObjective
    prompts: list[str]
    size: tuple[int, int]
    factor: int
    entities: Sequence[PromptEntities] | None
    precision: torch.dtype | None
    to_make: int


def cost_of(task: Forecast, settings: Settings, device: torch.device) -> Cost:
    """What a step takes, and the latents of the original model that are still to be made."""
    measured = _Measured(task, settings, device)
    originals = measured.originals(task.to_make)
    return Cost(measured.kept(), measured.step(), originals, measured.largest, measured.beside)


class _Measured:
    """Seconds and saved bytes of single calls, on batches of the run's size."""

    def __init__(self, task: Forecast, settings: Settings, device: torch.device) -> None:
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
            learning = timed(call, objective, device, self.weights)
            self.learning, self.saved, self.largest = learning.seconds, learning.kept, learning.largest
        picture = torch.zeros(1, *shape, device=device, requires_grad=True)
        judged = self._captions()
        with torch.no_grad():
            self._judge(picture, judged)
        self.judging, self.saved_in_judging = self._timed(lambda: self._judge(picture, judged), [picture])
        models = models_of(objective.segmenter)
        # What SAM holds while it looks at one picture, beside all that is kept.
        self.looking: int = getattr(objective.segmenter, "bytes_of_a_pass", lambda: 0)()
        self.beside = sum(tensor.nbytes for one in models.values() for tensor in one.parameters())
        self.segmenting = self._segmenting(torch.zeros(1, 3, height, width, device=device))
        objective.train(training)

    def kept(self) -> int:
        """Bytes kept for a backward pass, and those of SAM's pass, which comes while they are."""
        objective = self.task.objective
        calls = objective.sampling.gradient_steps + (0.5 if objective.discriminator is not None else 0)
        return int(calls * self.saved + self.settings.batch * self.saved_in_judging) + self.looking

    def step(self) -> float:
        """Seconds of a part of a step."""
        sampling, objective = self.task.objective.sampling, self.task.objective
        plain = sampling.steps - sampling.gradient_steps
        seconds = plain * self.plain + sampling.gradient_steps * self.learning
        seconds += self.settings.batch * (self.judging + self.segmenting)
        if objective.balance.distance:
            seconds += sampling.gradient_steps * self.plain
        if objective.discriminator is not None:
            # Half the rows in the generator's turn, all of them in its own.
            seconds += 1.5 * self.learning
        return seconds

    def originals(self, count: int) -> float:
        """Seconds for latents of the original model."""
        return count / self.settings.batch * self.task.objective.sampling.steps * self.plain

    def _call(self, latents: Tensor, conditions: Conditions) -> Tensor:
        options = {} if conditions.added is None else {"added_cond_kwargs": conditions.added}
        return self.task.objective.unet(latents, 1, conditions.prompt, **options).sample

    def _captions(self) -> tuple[str, ...]:
        """What the captioner is asked about a picture: a prompt, and against rivals as many as there are."""
        task = self.task
        if task.objective.balance.concept_form != "rivals" or not task.entities:
            return (task.prompts[0],)
        place = max(range(len(task.prompts)), key=lambda number: len(task.entities[number].rivals))  # type: ignore[index]
        return (task.prompts[place], *task.entities[place].rivals)

    def _judge(self, latents: Tensor, captions: tuple[str, ...]) -> Tensor:
        objective = self.task.objective
        pictures = decode(objective.vae, latents) / 2 + 0.5
        if objective.captioner is None:
            return pictures
        return objective.captioner.of_each(pictures, [captions])[0]

    def _segmenting(self, picture: Tensor) -> float:
        """Seconds for the masks of a picture of a prompt that has an entity."""
        segmenter = self.task.objective.segmenter
        nouns = next((one.nouns for one in self.task.entities or () if one.groups), ())
        if segmenter is None or not nouns:
            return 0.0
        # A grey picture shows nothing that masks could be made of.
        look = getattr(segmenter, "rehearse", segmenter.masks)
        with torch.no_grad():
            look(picture + 0.5, [nouns])
            started = time.perf_counter()
            look(picture + 0.5, [nouns])
            return time.perf_counter() - started

    def _timed(self, call: Callable[[], Tensor], inputs: list[Tensor] | None = None) -> tuple[float, int]:
        cost = timed(call, self.task.objective, self.device, inputs or ())
        return cost.seconds, cost.kept


def parts_of(task: Forecast) -> Iterator[str]:
    """What a run learns from, a line for each part, and which are left out."""
    objective, balance = task.objective, task.objective.balance
    entities = task.entities or []
    with_entities = sum(bool(one.groups) for one in entities)
    yield f"prompts: {len(task.prompts)}, pictures of {task.size[0]} × {task.size[1]}"
    yield from (
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
    )
    if task.to_make:
        yield f"the original model draws {task.to_make} pictures before the first step"
