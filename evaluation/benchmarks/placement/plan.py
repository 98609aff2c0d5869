"""Plan of an evaluation of placement: its scenes, and the settings of regional prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ....shapes_world import join
from ...scenes import Scenes


@dataclass(frozen=True)
class Plan(Scenes):
    """An evaluation of placement; `base` is the weight of the whole prompt inside regional ones."""

    base: float = 1.0

    def job(self, method: str, number: int) -> dict[str, Any]:
        """What the sampling process is asked for, all but the file's place."""
        sample = self.sample(number)
        # As whole sentences, because the model has never read a caption without a background.
        sentences = [join([one.caption], sample.scene.background) for one in sample.layout.active]
        return {**super().job(method, number), "sentences": sentences, "base": self.base}
