"""What an applied IFAdapter adds, as it travels on a conditioning.

A conditioning carries its own terms, so areas, masks, ranges, batches and guiders that evaluate several
conditionings keep working and nobody has to guess which row of a batch is the positive one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import comfy.conds
import node_helpers
import torch
from torch import Tensor

from ...models.ifadapter import Gate, InstancePrompt, Regions
from .layers import Block
from .schedule import Sampling, Window, acts

# Under this name the terms lie among a conditioning's `model_conds` and reach the UNet as a keyword.
KEY = "instance_composer_ifadapter"

logger = logging.getLogger("instance_composer")

Kind = tuple["AdaptedLayers", float, Regions, tuple[bool, ...]]


@dataclass(frozen=True, eq=False)
class AdaptedLayers:
    """What sampling needs of an adapter; `blocks` maps ComfyUI's attn2 keys to the numbers of `gates`."""

    gates: Mapping[int, Gate]
    blocks: Mapping[Block, int]

    def to(self, device: torch.device) -> AdaptedLayers:
        return replace(self, gates={number: gate.to(device) for number, gate in self.gates.items()})


@dataclass(frozen=True, eq=False)
class Term:
    """One adapter applied to one conditioning.

    `prompt` belongs to the captions or, for a negative, to the unconditional tokens; `when_zeroed` takes its
    place once the conditioning has been zeroed out after the adapter was applied.
    """

    layers: AdaptedLayers
    prompt: InstancePrompt
    when_zeroed: InstancePrompt
    strength: float
    window: Window

    def at(self, sigma: float, sampling: Sampling, zeroed: bool) -> StepTerm | None:
        """What acts at a noise level; None if no instance does."""
        prompt = self.when_zeroed if zeroed else self.prompt
        if not acts(self.window, sigma, sampling):
            return None
        windows = prompt.regions.windows
        open_windows = {window for window in set(windows) if acts(window, sigma, sampling)}
        active = tuple(window in open_windows for window in windows)
        if not any(active):
            return None
        return StepTerm(self.layers, prompt, self.strength, prompt.regions, active)


@dataclass(frozen=True, eq=False)
class StepTerm:
    """A term at one sampling step; `regions` are those of the latent it is evaluated on."""

    layers: AdaptedLayers
    prompt: InstancePrompt
    strength: float
    regions: Regions
    active: tuple[bool, ...]

    @property
    def kind(self) -> Kind:
        """Terms of one kind differ in keys and values alone and can be computed together."""
        return self.layers, self.strength, self.regions, self.active


class CarriedTerms(comfy.conds.CONDRegular):
    """The terms of one conditioning, as its author left them.

    A MODEL that came through Apply IFAdapter replaces them by `StepTerms` at every step, so ComfyUI asks
    these only when the terms meet another MODEL.
    """

    cond: tuple[Term, ...]
    _warned = False

    def process_cond(self, batch_size: int, **_: Any) -> CarriedTerms:
        if not self._warned:
            self._warned = True
            logger.warning(
                "A conditioning with an instance layout is sampled on a MODEL that did not come through "
                "Apply IFAdapter: the layout has no effect. Connect the MODEL output of Apply IFAdapter to "
                "the sampler."
            )
        return self

    def can_concat(self, other: comfy.conds.CONDRegular) -> bool:
        return isinstance(other, CarriedTerms)

    def concat(self, others: list[CarriedTerms]) -> tuple[()]:
        return ()

    def size(self) -> list[int]:
        return [1]


class StepTerms(comfy.conds.CONDRegular):
    """The terms of one conditioning at one step, for a latent of (height, width)."""

    cond: tuple[StepTerm, ...]

    def __init__(
        self, cond: tuple[StepTerm, ...], latent: tuple[int, int], crop: Callable[..., Regions]
    ) -> None:
        super().__init__(cond)
        self.latent = latent
        self.crop = crop

    def process_cond(self, batch_size: int, area: list[int] | None = None, **_: Any) -> StepTerms:
        if area is None:
            return self
        height, width, top, left = area
        rows, columns = self.latent
        rectangle = (left / columns, top / rows, (left + width) / columns, (top + height) / rows)
        terms = tuple(replace(term, regions=self.crop(term.regions, rectangle)) for term in self.cond)
        return StepTerms(terms, self.latent, self.crop)

    def can_concat(self, other: comfy.conds.CONDRegular) -> bool:
        return isinstance(other, StepTerms)

    def concat(self, others: list[StepTerms]) -> tuple[tuple[StepTerm, ...], ...]:
        # Not a list: ComfyUI casts the entries of a list to the model's dtype.
        return tuple(step.cond for step in (self, *others))

    def size(self) -> list[int]:
        return [1]


def carry(conditioning: list[Any], term: Term) -> list[Any]:
    """The conditioning with the term on each of its entries, on top of what they carry already."""
    return [_carry_one(entry, term) for entry in conditioning]


def _carry_one(entry: Any, term: Term) -> Any:
    text, values = entry[0], entry[1]
    if is_zero(text):
        # Zeros before the adapter was applied are a choice: a picture from its regions alone.
        term = replace(term, when_zeroed=term.prompt)
    others = values.get("model_conds", {})
    earlier = others[KEY].cond if KEY in others else ()
    terms = CarriedTerms((*earlier, term))
    return node_helpers.conditioning_set_values([entry], {"model_conds": {**others, KEY: terms}})[0]


def is_zero(text: Tensor | None) -> bool:
    """Whether a conditioning's text is all zeros, as ConditioningZeroOut leaves it."""
    return text is not None and not bool(text.any())
