"""Job: a picture that is asked for, with the sampler's settings (steps, scale of CFG, seed), as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..layout import Layout

# Seconds a picture took, of CPU time ("cpu") and of the clock ("clock").
Seconds = dict[str, float]


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler as ComfyUI's KSampler names them; `cfg` is classifier-free guidance's scale."""

    steps: int = 20
    cfg: float = 3.0
    sampler: str = "euler"
    scheduler: str = "normal"
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """A picture of a layout and its prompt, `width` by `height` pixels, by a method.

    `family` says where the method's name stands: "placing", "binding" or "diffusers". `options` are what
    methods of that family need besides, as plain JSON values. `original` is the file that a picture which is
    not sampled starts from.
    """

    family: str
    method: str
    layout: Layout
    width: int
    height: int
    sampling: Sampling = field(default_factory=Sampling)
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    original: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The job in plain JSON values."""
        own = {name: getattr(self, name) for name in ("family", "method", "width", "height", "original")}
        return {
            **own,
            "layout": self.layout.to_dict(),
            "sampling": asdict(self.sampling),
            "options": dict(self.options),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        """The job that `to_dict` gave these values."""
        parsed: dict[str, Any] = {
            **values,
            "layout": Layout.from_dict(values["layout"]),
            "sampling": Sampling(**values["sampling"]),
        }
        return cls(**parsed)


class Drawer(Protocol):
    """A way of drawing; ValueError says in the user's words why there is no picture."""

    def draw(self, job: Job, file: Path) -> Seconds:
        """Write the picture of a job to `file`, whole or not at all."""
        ...
