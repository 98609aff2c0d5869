"""Benchmark: a plan of pictures, a drawer of its jobs, scorers of what they show, a report of the records.

`run` draws and scores on the bones of `harness`, as published benchmarks do. Each benchmark is a folder
below `benchmarks` with its `plan` and its `report`, and an action of `cli/evaluate`, listed there; drawers
are in `generation`, scorers in `scorers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..generation.jobs import Job
from ..layout import Layout

Pixels = NDArray[np.uint8]
# What was measured of a picture.
Record = dict[str, Any]
# What is noted of the weights that draw: a digest of each part.
WEIGHTS = "weights"


class PlanError(ValueError):
    """An evaluation that cannot be run, or not continued, as asked."""


def other_weights(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A phrase where digests that are noted twice differ; none of what earlier versions did not note."""
    known, own = before.get(WEIGHTS, {}), now.get(WEIGHTS, {})
    changed = [part for part in own if known.get(part, own[part]) != own[part]]
    return [f"weights of {', '.join(changed)} are others than before"] if changed else []


class Point(NamedTuple):
    """A method, by name those of its settings that are not the plan's own, and the identity of its LoRA."""

    method: str
    settings: tuple[tuple[str, float], ...] = ()
    lora: str = ""

    @property
    def name(self) -> str:
        """The name of its folder of pictures: "local", or "local@2,1,0" with three settings."""
        drawn = f"{self.method}[{self.lora}]" if self.lora else self.method
        values = ",".join(f"{value:g}" for _, value in self.settings)
        return f"{drawn}@{values}" if values else drawn


# Real pictures, which no method draws.
REAL = Point("real")


class Plan(Protocol):
    """The pictures of a benchmark: the first `count` of each point, and what they depend on besides."""

    family: ClassVar[str]
    """The family of its methods."""

    @property
    def count(self) -> int: ...

    def points(self) -> Sequence[Point]:
        """Methods, at all settings that they are compared at."""
        ...

    def identity(self) -> dict[str, Any]:
        """All that the pictures depend on but point and number, in plain JSON values."""
        ...

    def layout(self, number: int) -> Layout:
        """What picture `number` is measured against at every point."""
        ...

    def job(self, point: Point, number: int) -> Job:
        """Picture `number` of a point; it has the same noise at every point."""
        ...

    def first(self, point: Point) -> Point | None:
        """The point whose picture of a number is drawn before this one's, and shown to `after`."""
        ...

    def after(self, job: Job, picture: Pixels) -> Job:
        """A job that knows where the first picture shows what is asked for."""
        ...

    def real(self, number: int) -> Pixels:
        """The real picture of what picture `number` is to show, (height, width, 3)."""
        ...


class Scorer(Protocol):
    """A measure of one picture."""

    def __call__(self, picture: Pixels, layout: Layout, /) -> dict[str, Any]:
        """Scores of a picture (height, width, 3) against its layout and prompt, in plain JSON values."""
        ...


def check_methods(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Known methods in the order of the tables; `PlanError` lists them, where none or another is named."""
    names, known = list(names), list(known)
    if not names:
        raise PlanError(f"no method is named; name at least one of {', '.join(known)}")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PlanError(f"there is no method {', '.join(unknown)}; choose from {', '.join(known)}")
    return tuple(name for name in known if name in names)
