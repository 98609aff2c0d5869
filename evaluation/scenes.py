"""Scenes of Shapes World that methods are measured on, and plans of benchmarks on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from ..generation.jobs import Job, Sampling
from ..layout import Layout
from ..shapes_world import (
    Look,
    Sample,
    ShapesWorld,
    Split,
    join,
)
from .benchmark import WEIGHTS, Pixels, Point, Record

# Evaluated scenes and the renders that pictures are compared with; training draws from seed 1, calibration of
# the judge and samples while training from others.
_SCENES_SEED, _REFERENCE_SEED = 20_261_122, 20_261_123


@dataclass(frozen=True)
class Scenes:
    """Numbered scenes with their real pictures.

    `figures` are the numbers of things per scene, taken in turn; `size` is (width, height) in pixels.
    """

    figures: tuple[int, ...] = (2, 3, 4, 5)
    size: tuple[int, int] = (128, 128)
    split: Split = "held-out"

    def sample(self, number: int) -> Sample:
        """Scene `number` with its real picture."""
        return self._world(_SCENES_SEED, number)[number]

    def reference(self, number: int) -> Sample:
        """Another scene of the same kind, for comparing pictures with what real ones look like."""
        return self._world(_REFERENCE_SEED, number)[number]

    def looks(self, number: int) -> tuple[Look, ...]:
        """The looks of the things of scene `number`, in the order of its layout."""
        return tuple(figure.look for figure in self._world(_SCENES_SEED, number).scene(number).figures)

    def _world(self, seed: int, number: int) -> ShapesWorld:
        width, height = self.size
        return ShapesWorld(seed, width, height, self.split, self.figures[number % len(self.figures)])


def sentences(sample: Sample) -> list[str]:
    """For each instance a whole sentence, because the model never read a caption without background."""
    return [join([one.caption], sample.scene.background) for one in sample.layout.active]


@dataclass(frozen=True)
class ScenePlan(ABC):
    """Plan of a benchmark on the first `count` scenes; picture n has the sampling's seed plus n.

    A benchmark says its family of methods, what they need besides a layout, and the settings of that.
    `weights` are digests of what draws, by part; without them models are not told apart.
    """

    family: ClassVar[str]

    methods: tuple[str, ...] = ()
    count: int = 300
    scenes: Scenes = field(default_factory=Scenes)
    sampling: Sampling = field(default_factory=Sampling)
    weights: Mapping[str, str] = field(default_factory=dict[str, str], kw_only=True)

    def points(self) -> Sequence[Point]:
        """All methods at the plan's own settings."""
        return [Point(method) for method in self.methods]

    def settings(self) -> dict[str, Any]:
        """Settings of this benchmark alone that its pictures depend on, in plain JSON values."""
        return {}

    @abstractmethod
    def options(self, point: Point, sample: Sample) -> dict[str, Any]:
        """The options of a job of this family, in plain JSON values."""

    def identity(self) -> dict[str, Any]:
        """All that the pictures depend on but point and number, in plain JSON values."""
        values = {**asdict(self.scenes), **asdict(self.sampling), **self.settings()}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {**plain, **({WEIGHTS: dict(self.weights)} if self.weights else {})}

    def layout(self, number: int) -> Layout:
        """The layout of scene `number`, with the prompt that names everything."""
        return self.scenes.sample(number).layout

    def job(self, point: Point, number: int) -> Job:
        """Picture `number` of a point."""
        sample = self.scenes.sample(number)
        sampling = replace(self.sampling, seed=self.sampling.seed + number)
        options = self.options(point, sample)
        return Job(self.family, point.method, sample.layout, *self.scenes.size, sampling, options)

    def first(self, point: Point) -> Point | None:
        """None: a picture here needs no other."""
        return None

    def after(self, job: Job, picture: Pixels) -> Job:
        """The job as it is: nothing is looked for in another picture."""
        return job

    def real(self, number: int) -> Pixels:
        """The real picture of scene `number`."""
        return self.scenes.sample(number).image

    def describe(self, records: Sequence[Record], noun: str) -> str:
        """The run in a sentence; `noun` is what scenes are to the methods: "layouts", "prompts"."""
        things = sum(record["things"] for record in records)
        (width, height), figures, sampling = self.scenes.size, self.scenes.figures, self.sampling
        return (
            f"{len(records)} {noun} of {self.scenes.split} looks, {min(figures)} to {max(figures)} things "
            f"each, {things} in all; {width} × {height} pixels, {sampling.steps} steps of {sampling.sampler} "
            f"({sampling.scheduler}), guidance {sampling.cfg:g}, one picture a {noun.removesuffix('s')}, the "
            "same noise for every method. Brackets are 95 % intervals."
        )
