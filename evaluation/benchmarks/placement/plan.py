"""Plan of an evaluation of placement: its scenes, and the settings of regional prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ....generation.jobs import Job
from ....generation.placing_methods import METHODS
from ....shapes_world import Sample
from ...benchmark import Point
from ...scenes import ScenePlan, sentences
from .naming import NAMINGS, SETTING, left_out, say


@dataclass(frozen=True)
class PlacementPlan(ScenePlan):
    """An evaluation of placement; `base` is the weight of the whole prompt inside regional ones.

    `naming`: what prompts name beside all things, of `NAMINGS`; the layouts are the same.
    """

    family: ClassVar[str] = "placing"

    base: float = 1.0
    naming: tuple[str, ...] = ()

    def points(self) -> Sequence[Point]:
        """All methods with prompts that name everything, then those that sample with the other prompts."""
        known = list(NAMINGS)
        others = [
            Point(name, ((SETTING, float(known.index(naming))),))
            for naming in self.naming
            if naming != "all"
            for name in self.methods
            if METHODS[name].sampled
        ]
        return [*super().points(), *others]

    def job(self, point: Point, number: int) -> Job:
        """Picture `number` of a point, its prompt as the point says."""
        job = super().job(point, number)
        naming = list(NAMINGS)[int(dict(point.settings).get(SETTING, 0.0))]
        background = self.scenes.sample(number).scene.background
        return replace(job, layout=say(job.layout, background, naming, self._turn(number)))

    def left_out(self, number: int) -> int:
        """The index of the thing that prompts of picture `number` may leave out."""
        return left_out(self.scenes.sample(number).layout, self._turn(number))

    def _turn(self, number: int) -> int:
        # Numbers of things come in turn as well.
        return number // len(self.scenes.figures)

    def settings(self) -> dict[str, Any]:
        """The weight of the whole prompt."""
        return {"base": self.base}

    def options(self, point: Point, sample: Sample) -> dict[str, Any]:
        """A whole sentence for each instance, and the weight of the prompt inside."""
        return {"sentences": sentences(sample), "base": self.base}
