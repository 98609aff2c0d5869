"""Scenes of Shapes World that methods are measured on, and the settings that every picture of them shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..shapes_world import (
    Look,
    Sample,
    ShapesWorld,
    Split,
)

# Evaluated scenes and the renders that pictures are compared with; training draws from seed 1, calibration of
# the judge and samples while training from others.
_SCENES_SEED, _REFERENCE_SEED = 20_261_122, 20_261_123


class PlanError(ValueError):
    """An evaluation that cannot be run, or not continued, as asked."""


@dataclass(frozen=True)
class Scenes:
    """What the pictures of every evaluation depend on, besides their method and number.

    `figures` are the numbers of things per scene, taken in turn; `size` is (width, height) in pixels. Picture
    `n` of every method has the noise of seed `seed + n`.
    """

    figures: tuple[int, ...] = (2, 3, 4, 5)
    size: tuple[int, int] = (128, 128)
    split: Split = "held-out"
    steps: int = 20
    cfg: float = 3.0
    sampler: str = "euler"
    scheduler: str = "normal"
    seed: int = 0

    def sample(self, number: int) -> Sample:
        """Scene `number` with its real picture."""
        return self._world(_SCENES_SEED, number)[number]

    def reference(self, number: int) -> Sample:
        """Another scene of the same kind, for comparing pictures with what real ones look like."""
        return self._world(_REFERENCE_SEED, number)[number]

    def looks(self, number: int) -> tuple[Look, ...]:
        """What the things of scene `number` are to look like, in the order of its layout."""
        return tuple(figure.look for figure in self._world(_SCENES_SEED, number).scene(number).figures)

    def job(self, method: str, number: int) -> dict[str, Any]:
        """What the sampling process is asked for, all but the file's place."""
        return {
            "method": method,
            "layout": self.sample(number).layout.to_dict(),
            "width": self.size[0],
            "height": self.size[1],
            "seed": self.seed + number,
            **{name: getattr(self, name) for name in ("steps", "cfg", "sampler", "scheduler")},
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def _world(self, seed: int, number: int) -> ShapesWorld:
        width, height = self.size
        return ShapesWorld(seed, width, height, self.split, self.figures[number % len(self.figures)])


def check_methods(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Known methods in the order of the tables; `PlanError` lists them."""
    names, known = list(names), list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PlanError(f"there is no method {', '.join(unknown)}; choose from {', '.join(known)}")
    return [name for name in known if name in names]
