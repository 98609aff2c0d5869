"""Terms: effects of nodes, as they travel on a prompt's conditioning and at one sampling step.

A conditioning carries its own terms, so areas, masks, ranges, batches and guiders that evaluate several
conditionings keep working and nobody has to guess which row of a batch is the positive one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, runtime_checkable

import comfy.conds
import node_helpers
import torch
from torch import Tensor

from ....models.regions import Rectangle
from .layer_call import Group
from .run_cache import RunCache
from .text import Text, is_zero
from .window import Sampling, Window

# Name of a step's terms among a conditioning's `model_conds`, and of the keyword with which ComfyUI hands
# them to the diffusion model.
KEY = "instance_composer"
# Name there of the terms that a conditioning carries. In every call ComfyUI writes the call's options over
# what has this name, so a MODEL without our wrappers gets none: HiDream's takes no keywords but its own.
CARRIED = "transformer_options"

logger = logging.getLogger("instance_composer")


class Term(Protocol):
    """One node's effect on one conditioning."""

    @property
    def node(self) -> str:
        """The display name of the node."""
        ...

    @property
    def window(self) -> Window:
        """The node's start and end."""
        ...

    def on_zeros(self) -> Term:
        """The same for a conditioning that was zeroed out before the node."""
        ...

    def at(self, sigma: float, sampling: Sampling, text: Text) -> StepTerm | None:
        """Step of this term at a noise level; None if it does not act there."""
        ...


class StepTerm(Protocol):
    """A term at one sampling step."""

    @property
    def kind(self) -> Hashable:
        """Terms of one kind can be computed together."""
        ...

    def crop(self, rectangle: Rectangle, cache: RunCache) -> StepTerm:
        """The same seen from a rectangle of the picture."""
        ...

    def group(self, members: Sequence[tuple[int, Any]], device: torch.device, cache: RunCache) -> Group:
        """This and the other terms of its kind, each with the index of its chunk, for one UNet call."""
        ...


@runtime_checkable
class GuidingStep(StepTerm, Protocol):
    """A term that guides the latent: it runs the model for its own conditioning before the step's evaluation.

    In that run its group reads attention, and may end the run with `AllReadError`.
    """

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The transformer_options for its own run."""
        ...

    def move(self, run: Callable[[Tensor], Any], model: Any, latent: Tensor) -> Tensor:
        """The change (B, C, h, w) of the denoised latent in units of sigma, whatever conditioning it is of.

        `run` evaluates the model on a latent for the term's conditioning; `model` is ComfyUI's BaseModel.
        """
        ...


class CarriedTerms(comfy.conds.CONDRegular):
    """The terms of one conditioning, as its author left them.

    A MODEL that came through the same node replaces them by `StepTerms` at every step, so ComfyUI asks these
    only when the terms meet another MODEL.
    """

    cond: tuple[Term, ...]
    _warned = False

    def process_cond(self, batch_size: int, **_: Any) -> CarriedTerms:
        if not self._warned:
            self._warned = True
            for node in dict.fromkeys(term.node for term in self.cond):
                logger.warning(
                    "A conditioning that came through %s is sampled on a MODEL that did not: what the node "
                    "does has no effect. Connect the MODEL output of %s to the sampler.",
                    node,
                    node,
                )
        return self

    def can_concat(self, other: comfy.conds.CONDRegular) -> bool:
        return isinstance(other, CarriedTerms)

    def concat(self, others: list[CarriedTerms]) -> tuple[()]:
        return ()

    def size(self) -> list[int]:
        return [1]


class ChunkTerms(tuple[StepTerm, ...]):
    """The terms of one chunk of a call, and the `rows` and the `size` (height, width) that it is to have.

    Another pack's wrapper around the model may hand it something else.
    """

    rows: int
    size: tuple[int, int]

    @classmethod
    def of(cls, terms: tuple[StepTerm, ...], rows: int, size: tuple[int, int]) -> ChunkTerms:
        made = cls(terms)
        made.rows, made.size = rows, size
        return made


class StepTerms(comfy.conds.CONDRegular):
    """The terms of one conditioning at one step, for a latent of (height, width)."""

    cond: tuple[StepTerm, ...]

    def __init__(self, cond: tuple[StepTerm, ...], latent: tuple[int, int], cache: RunCache) -> None:
        super().__init__(cond)
        self.latent = latent
        self.cache = cache

    def process_cond(self, batch_size: int, area: list[int] | None = None, **_: Any) -> StepTerms:
        if area is None:
            return self._with(ChunkTerms.of(self.cond, batch_size, self.latent))
        # Sizes and then starts; of latents with frames these come first in each half.
        dimensions = len(area) // 2
        height, width = area[dimensions - 2 : dimensions]
        top, left = area[-2:]
        rows, columns = self.latent
        rectangle = (left / columns, top / rows, (left + width) / columns, (top + height) / rows)
        cropped = tuple(term.crop(rectangle, self.cache) for term in self.cond)
        return self._with(ChunkTerms.of(cropped, batch_size, (height, width)))

    def _with(self, terms: ChunkTerms) -> StepTerms:
        return StepTerms(terms, self.latent, self.cache)

    def can_concat(self, other: comfy.conds.CONDRegular) -> bool:
        return isinstance(other, StepTerms)

    def concat(self, others: list[StepTerms]) -> tuple[tuple[StepTerm, ...], ...]:
        # A tuple, because ComfyUI takes a list for tensors and casts its entries to the model's dtype.
        return tuple(step.cond for step in (self, *others))

    def size(self) -> list[int]:
        return [1]


def carry(conditioning: list[Any], term: Term) -> list[Any]:
    """The conditioning with the term on each of its entries, on top of what they carry already."""
    return [_carry_one(entry, term) for entry in conditioning]


def _carry_one(entry: Any, term: Term) -> Any:
    text, values = entry[0], entry[1]
    others = values.get("model_conds", {})
    earlier = others[CARRIED].cond if CARRIED in others else ()
    terms = CarriedTerms((*earlier, term.on_zeros() if is_zero(text) else term))
    return node_helpers.conditioning_set_values([entry], {"model_conds": {**others, CARRIED: terms}})[0]
