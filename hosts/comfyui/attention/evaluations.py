"""Evaluations of a run's latents: what of each has been evaluated, and how far its guiding terms move it.

A guider may ask for its conditionings in several calls, and some guidance asks again for one of them, of a
model that it has damaged (perturbed attention, skipped layers).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# Latents kept of one noise level: a sampler has one, or one for each context window.
_MOST = 64

Conds = Sequence[Sequence[Mapping[str, Any]] | None]


@dataclass(frozen=True, eq=False)
class Asked:
    """One call for conditionings on a latent.

    `first`: for each of them whether it has not been evaluated there before; `late`: whether anything has.
    """

    conds: Conds
    first: list[list[bool]]
    late: bool

    @property
    def again(self) -> bool:
        """Whether all of it has been evaluated before."""
        return self.late and not any(map(any, self.first))

    @property
    def new(self) -> list[list[Mapping[str, Any]] | None]:
        """Those that have not."""
        return [
            None if group is None else [cond for cond, one in zip(group, first, strict=True) if one]
            for group, first in zip(self.conds, self.first, strict=True)
        ]


@dataclass(eq=False)
class Evaluated:
    """One latent (B, C, …, h, w) at one noise level.

    `move` (B, C, …, h, w) is what has been added to every prediction from it, None where nothing guides.
    """

    latent: Tensor
    move: Tensor | None = None
    _known: set[Hashable] = field(default_factory=set[Hashable])

    def take_in(self, conds: Conds) -> Asked:
        """What a call asks for, all of which is known from now on."""
        names = [[_name(cond) for cond in group or ()] for group in conds]
        first = [[name not in self._known for name in group] for group in names]
        late = bool(self._known)
        self._known.update(name for group in names for name in group)
        return Asked(conds, first, late)

    def add_move(self, move: Tensor) -> None:
        """Move it further."""
        self.move = move if self.move is None else self.move + move

    def moved(self, denoised: Any) -> Any:
        """Predictions from it, moved."""
        return denoised if self.move is None else [one + self.move for one in denoised]


class Evaluations:
    """The latents of the present noise level."""

    def __init__(self) -> None:
        self._sigma: float | None = None
        self._latents: deque[Evaluated] = deque(maxlen=_MOST)

    def of(self, latent: Tensor, sigma: float) -> Evaluated:
        """What is known of a latent at a noise level; of another level everything is forgotten."""
        if sigma != self._sigma:
            self._sigma = sigma
            self._latents.clear()
        for known in self._latents:
            if _same(known.latent, latent):
                return known
        # Some samplers write the next latent into the same tensor.
        self._latents.append(Evaluated(latent.clone()))
        return self._latents[-1]

    def clear(self) -> None:
        """Forget all, so that nothing stays on the device."""
        self._sigma = None
        self._latents.clear()


def _same(known: Tensor, latent: Tensor) -> bool:
    # By their numbers: context windows and other packs' wrappers hand on copies.
    alike = (known.shape, known.dtype, known.device) == (latent.shape, latent.dtype, latent.device)
    return alike and torch.equal(known, latent)


def _name(cond: Mapping[str, Any]) -> Hashable:
    # The negative that ComfyUI makes for an area has the uuid of the positive that it is a copy of.
    text = cond["model_conds"].get("c_crossattn")
    return cond["uuid"], getattr(text, "cond", None)
