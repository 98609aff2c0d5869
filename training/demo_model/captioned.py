"""Encoded pictures and their captions as a task of the training loop, whatever model learns from them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from ...shapes_world import ShapesWorld, Split, caption
from ..data.latents import Buckets, LatentSet
from ..engine.settings import Settings
from ..engine.task import BatchPosition, ObjectiveT, Task

_EXAMPLES: tuple[Split, ...] = ("train", "held-out")

# What is trained on and what is held out.
Sets = tuple[Sequence[LatentSet], Sequence[LatentSet]]


class CaptionedTask(Task[ObjectiveT]):
    """Encoded pictures of one or several sizes; `held_out` are never trained on.

    Both may be stand-ins, with `encode` making the real ones when all else is known to be well.
    """

    def __init__(
        self,
        sets: Sequence[LatentSet],
        held_out: Sequence[LatentSet] = (),
        encode: Callable[[], Sets] | None = None,
    ) -> None:
        self._buckets, self._held_out, self._encode = Buckets(sets), held_out, encode

    @abstractmethod
    def collate(self, one: LatentSet, numbers: Sequence[int]) -> dict[str, Any]:
        """The batch of these pictures of a set."""

    def prepare(self) -> None:
        """Paint and encode the pictures that are not encoded yet."""
        if self._encode is not None:
            sets, self._held_out = self._encode()
            self._buckets = Buckets(sets)

    def before(self, settings: Settings, device: torch.device) -> float | None:
        return None if any(one.is_blank for one in (*self._buckets.sets, *self._held_out)) else 0.0

    def batch(self, position: BatchPosition, size: int, seed: int) -> dict[str, Any]:
        """Pictures of one size with what the objective reads of their captions."""
        return self.collate(*self._buckets.choose(position, size, seed))

    @property
    def held_out_count(self) -> int:
        return sum(len(one) for one in self._held_out)

    def validation_batches(self, size: int) -> Sequence[dict[str, Any]]:
        """What is held out, always in the same order."""
        return [
            self.collate(one, list(range(first, min(first + size, len(one)))))
            for one in self._held_out
            for first in range(0, len(one), size)
        ]

    @property
    def samples(self) -> int:
        return sum(len(one) for one in self._buckets.sets)

    def account(self) -> Iterable[str]:
        for one in self._buckets.sets:
            height, width = one.size
            yield f"pictures: {len(one)} of {width} × {height}"
            yield from one.notes

    @property
    def counted(self) -> list[list[int]]:
        """How many pictures there are of each size, and the size."""
        return [[len(one), *one.size] for one in self._buckets.sets]

    def examples(self, related: float = 0.0) -> tuple[list[str], int, int]:
        """Eight captions of known looks and eight of looks never seen, and the height and width to draw.

        `related` is the share of captions with a relation.
        """
        height, width = max((one.size for one in self._buckets.sets), key=min)
        worlds = [ShapesWorld(2**31, width, height, split, related=related) for split in _EXAMPLES]
        return [caption(world.scene(number)) for world in worlds for number in range(8)], height, width
