"""Weights and losses that are no numbers any more: noticed before they reach the disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from .checkpoint import BEST, FILE, earlier

# Steps in a row without a finite gradient after which a run ends. Half precision begins with up to about 16
# of them, until its loss scale fits.
_MOST_SKIPPED = 25


class DivergedError(ValueError):
    """Weights or losses that are no numbers any more."""


class Divergence:
    """Whether a run of a folder still learns.

    `skipped` counts the last steps in a row in which a player's gradient was not finite, which moved nothing
    of it, of the player with most of them; `saved` is the step of the newest checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.saved = folder, 0
        self._skipped: dict[str, int] = {}

    @property
    def skipped(self) -> int:
        return max(self._skipped.values(), default=0)

    def count(self, step: int, finite: bool, player: str) -> None:
        """Note a player's step; `DivergedError` after too many that moved nothing."""
        self._skipped[player] = 0 if finite else self._skipped.get(player, 0) + 1
        if self._skipped[player] >= _MOST_SKIPPED:
            whose = f" of the {player}" if len(self._skipped) > 1 else ""
            raise DivergedError(
                f"the gradient{whose} of the last {_MOST_SKIPPED} steps up to step {step} is not finite, so "
                f"nothing is learned any more; {self._way_back(step)}"
            )

    def check(self, step: int, weights: Iterable[tuple[str, Tensor]]) -> None:
        """`DivergedError` before anything that is not finite is written."""
        finite = {name: bool(torch.isfinite(value).all()) for name, value in weights}
        wrong = [name for name, is_finite in finite.items() if not is_finite]
        if wrong:
            raise DivergedError(
                f"{len(wrong)} of {len(finite)} weights are not finite after step {step}, the "
                f"first is {wrong[0]}; {self._way_back(step)}"
            )

    def _way_back(self, step: int) -> str:
        kept = [FILE, *(file.name for file in earlier(self.folder)), BEST]
        there = [name for name in kept if (self.folder / name).is_file()]
        advice = "lower learning_rate, raise warm_up, or train in bf16 instead of fp16"
        if not there:
            return f"nothing was written. To mend it: {advice}"
        if step - self.saved < self.skipped:
            # Weights can be numbers still and be lost already.
            back = f"rename {there[1]} to {FILE}" if there[1:] else "choose another folder to start over"
            return (
                f"no step after {self.folder / there[0]} was finite, so it may hold the weights that went "
                f"wrong: {back}. To mend it: {advice}"
            )
        return (
            f"{self.folder / there[0]} is from before"
            + (f", so is {there[1]}" if there[1:] else "")
            + f". To mend it: {advice}, and start the same command again"
        )
