"""Guidance of the latent: an energy of the attention maps and its gradient, followed while sampling."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import comfy.model_management
import torch
from torch import Tensor, nn

from ....models.attention.probabilities import token_probabilities
from ....models.concentration import Targets
from ....models.concentration.energy import (
    LATENT_STEP,
    LOSS_SCALES,
    Energy,
    Objective,
    unit_step,
)
from ....models.regions import Rectangle
from ..attention.layer_call import AllReadError, Block, CrossedCall
from ..attention.run_cache import RunCache
from ..attention.silhouettes import Growing
from ..attention.text import Text
from ..attention.window import Sampling, Window
from .differentiable_unet import (
    OVERRIDE,
    LatentGuidanceError,
    check_device,
    check_memory,
    check_model,
    differentiable,
    differentiable_options,
    needs_checkpoints,
    ran_out_message,
)
from .local import NODE, acting_entities, cropped, own_tokens
from .silhouettes import GrownTargets

NO_GRADIENT = (
    "The attention of this MODEL cannot be differentiated: its weights are quantised, or another node pack "
    f"computes it. Choose the mode local of {NODE}, which needs no gradient."
)
SKIPPED = (
    f"The mode latent of {NODE} reads the attention of {{layers}} layers of this MODEL, and {{read}} ran. "
    "Another node skips blocks of the model (a cache), or computes attention by itself: take it off this "
    "MODEL, or choose the mode local."
)
# What torch says in the backward pass alone, of kernels of quantised layers and of other packs.
UNDIFFERENTIABLE = ("derivative for", "autograd formula", "inplace operation")

logger = logging.getLogger("instance_composer")


@dataclass(frozen=True, eq=False)
class LatentTerm:
    """Entities of one conditioning whose energy moves the latent."""

    targets: Targets
    make_objective: Callable[[Targets], Objective]
    strength: float
    layers: tuple[Block, ...]
    window: Window
    node: str = NODE
    growing: Growing | None = None
    # Of what the user has been told, once.
    told: list[str] = field(default_factory=list, init=False)

    def on_zeros(self) -> LatentTerm:
        return self

    def with_growing(self, growing: Growing) -> LatentTerm:
        return replace(self, growing=growing)

    def at(self, sigma: float, sampling: Sampling, text: Text) -> LatentStep | None:
        active = acting_entities(self.targets, self.window, sigma, sampling, text)
        if active is None:
            return None
        gathers = self.growing is not None and self.growing.gathers(sigma, sampling)
        return LatentStep(self, self.targets, active, text, gathers)


@dataclass
class Captured:
    """Maps (B, h, w, T) of one conditioning, one for each layer; closed once the backward pass begins.

    `objectives` gives those of so many pictures, one each.
    """

    objectives: Callable[[int], Sequence[Objective]]
    maps: list[Tensor] = field(default_factory=list)
    closed: bool = False


@dataclass(frozen=True, eq=False)
class LatentStep:
    """A term at one sampling step, with what the UNet call captures for it."""

    term: LatentTerm
    targets: Targets
    active: tuple[bool, ...]
    text: Text
    gathers: bool = False
    captured: list[Captured] = field(default_factory=list)

    @property
    def kind(self) -> Hashable:
        return self

    def crop(self, rectangle: Rectangle, cache: RunCache) -> LatentStep:
        # The copy shares the list `captured`, in which `move` looks for the maps of all parts of the picture.
        return replace(self, targets=cropped(self.targets, rectangle, cache))

    def group(
        self, members: Sequence[tuple[int, LatentStep]], device: torch.device, cache: RunCache
    ) -> CaptureGroup:
        growing = self.term.growing
        grown = None if growing is None else GrownTargets.of(growing, self.targets, cache)
        captured = Captured(partial(self._objectives, None if self.gathers else grown))
        self.captured.append(captured)
        chunks = tuple(index for index, _ in members)
        return CaptureGroup(self, chunks, captured, grown if self.gathers else None)

    def _objectives(self, grown: GrownTargets | None, rows: int) -> Sequence[Objective]:
        if grown is None:
            return [self.term.make_objective(self.targets)] * rows
        return [self.term.make_objective(targets) for targets in grown.rows(rows)]

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        if OVERRIDE in options and not self.term.told:
            self.term.told.append(OVERRIDE)
            logger.info(
                "Another node has put an attention of its own into this MODEL. The mode latent of %s takes "
                "its values, and the gradient of torch's attention at the same place.",
                NODE,
            )
        return differentiable_options(options)

    def move(self, run: Callable[[Tensor], Any], model: Any, latent: Tensor) -> Tensor:
        """LATENT_STEP times strength along the normalised gradient of the energy.

        Classifier guidance (Dhariwal and Nichol, arXiv 2105.05233, algorithm 2) with the energy for a
        classifier's logarithm: what it moves is the predicted noise.
        """
        unet = model.diffusion_model
        check_device(latent.device)
        check_model(model)
        free = comfy.model_management.get_free_memory(latent.device)
        check_memory(model, latent, free)
        checkpoints = needs_checkpoints(model, latent, free)
        try:
            return LATENT_STEP * self.term.strength * self._unit_step(run, unet, latent, checkpoints)
        except LatentGuidanceError:
            raise
        except comfy.model_management.OOM_EXCEPTION as error:
            raise LatentGuidanceError(ran_out_message(model, latent, free)) from error

    def _unit_step(
        self, run: Callable[[Tensor], Any], unet: nn.Module, latent: Tensor, checkpoints: bool
    ) -> Tensor:
        gradient = distance = torch.zeros(())
        for scale in LOSS_SCALES:
            gradient, distance = self._gradient(run, unet, latent, checkpoints, scale)
            if gradient.isfinite().all():
                break
        return unit_step(gradient, distance)

    def _gradient(
        self, run: Callable[[Tensor], Any], unet: nn.Module, latent: Tensor, checkpoints: bool, scale: float
    ) -> tuple[Tensor, Tensor]:
        """The gradient (B, C, h, w) of the energy times `scale`, and each picture's distance (B,)."""
        self.captured.clear()
        with differentiable(unet, self.term.layers, checkpoints):
            leaf = latent.clone().requires_grad_()
            run(leaf)
            energies = [self._energies(captured) for captured in self.captured]
            for captured in self.captured:
                captured.closed = True
            if not energies:  # nothing was evaluated, so there is nothing to follow
                return torch.zeros_like(latent), latent.new_zeros(len(latent))
            total = torch.stack([row.value for rows in energies for row in rows]).sum()
            if not total.requires_grad:
                raise LatentGuidanceError(NO_GRADIENT)
            try:
                (gradient,) = torch.autograd.grad(scale * total, leaf)
            except RuntimeError as error:
                if any(words in str(error) for words in UNDIFFERENTIABLE):
                    raise LatentGuidanceError(NO_GRADIENT) from error
                raise
            rows = zip(*energies, strict=True)
            distance = torch.stack([torch.stack([part.distance for part in row]).mean() for row in rows])
            return gradient, distance

    def _energies(self, captured: Captured) -> list[Energy]:
        """The energy of every picture of the batch; `LatentGuidanceError` where layers did not run."""
        layers, read = len(self.term.layers), len(captured.maps)
        if read < layers:
            raise LatentGuidanceError(SKIPPED.format(layers=layers, read=read))
        return [
            objective([one[row : row + 1] for one in captured.maps], self.active)
            for row, objective in enumerate(captured.objectives(len(captured.maps[0])))
        ]


@dataclass(frozen=True, eq=False)
class CaptureGroup:
    """Reads the maps of one conditioning in one UNet call."""

    step: LatentStep
    chunks: tuple[int, ...]
    captured: Captured
    gathered: GrownTargets | None = None

    @property
    def blocks(self) -> Collection[Block]:
        return self.step.term.layers

    @property
    def adds(self) -> bool:
        return False

    def act(self, call: CrossedCall) -> None:
        (chunk,) = self.chunks
        query, key, _ = call.inputs(chunk)
        key = key[:, : own_tokens(self.step.targets, self.step.text, call)]
        found = token_probabilities(query, key, call.heads)
        found = found.mean(1).unflatten(1, call.grid)
        if self.captured.closed:
            return  # a checkpoint runs the layer again
        if self.gathered is not None:
            self.gathered.add(found.detach()[..., list(self.step.targets.tokens)], guiding=True)
        self.captured.maps.append(found)
        if len(self.captured.maps) == len(self.blocks):
            raise AllReadError
