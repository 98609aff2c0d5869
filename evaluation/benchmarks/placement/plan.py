"""Plan of an evaluation of placement: its scenes, and the settings of regional prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ....shapes_world import Sample, join
from ...benchmark import Point
from ...scenes import ScenePlan


@dataclass(frozen=True)
class PlacementPlan(ScenePlan):
    """An evaluation of placement; `base` is the weight of the whole prompt inside regional ones."""

    family: ClassVar[str] = "placing"

    base: float = 1.0

    def settings(self) -> dict[str, Any]:
        """The weight of the whole prompt."""
        return {"base": self.base}

    def options(self, point: Point, sample: Sample) -> dict[str, Any]:
        """For each instance a whole sentence, because the model never read a caption without background."""
        sentences = [join([one.caption], sample.scene.background) for one in sample.layout.active]
        return {"sentences": sentences, "base": self.base}
