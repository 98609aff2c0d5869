"""Plan of an evaluation of binding: its scenes, the settings of guided methods, and sweeps over them."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ....generation.binding_methods import BASELINES, METHODS
from ....shapes_world import Sample
from ...benchmark import PlanError, Point
from ...scenes import ScenePlan, Scenes

# A figure in a caption: its words without the article.
_FIGURE = re.compile(r"\ban? (.+?)(?=, | and | on )")

Span = tuple[int, int]
Weights = tuple[float, float]


@dataclass(frozen=True)
class Guidance:
    """Settings of the node Attribute Concentration."""

    strength: float = 1.0
    token_weight: float = 1.0
    pixel_weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    layers: str = "middle and decoder"


@dataclass(frozen=True)
class Lora:
    """A LoRA file of the UNet, and its strength."""

    file: Path
    strength: float = 1.0

    def identity(self) -> str:
        """Name, strength, and the beginning of the SHA-256 of what is in the file."""
        digest = hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]
        return f"{self.file.name} {digest} at {self.strength:g}"


@dataclass(frozen=True)
class Sweep:
    """A guided method at several strengths, with one pair of weights, of token and pixel term."""

    method: str
    weights: Weights
    strengths: tuple[float, ...]

    def points(self, guidance: Guidance) -> list[Point]:
        """One point a strength, see `point_at`."""
        return [point_at(guidance, self.method, strength, self.weights) for strength in self.strengths]


@dataclass(frozen=True)
class BindingPlan(ScenePlan):
    """An evaluation of binding: every method with the same guidance, and sweeps that differ from it."""

    family: ClassVar[str] = "binding"

    scenes: Scenes = field(default_factory=lambda: Scenes((2, 3, 4)))
    guidance: Guidance = field(default_factory=Guidance)
    sweeps: tuple[Sweep, ...] = ()
    lora: Lora | None = None

    def points(self) -> Sequence[Point]:
        """All methods with the plan's guidance, then what the sweeps have besides."""
        swept = (point for sweep in self.sweeps for point in sweep.points(self.guidance))
        return list(dict.fromkeys([*super().points(), *swept]))

    def settings(self) -> dict[str, Any]:
        """The guidance, and the LoRA if there is one."""
        lora = {} if self.lora is None else {"lora": self.lora.identity()}
        return {**asdict(self.guidance), **lora}

    def options(self, point: Point, sample: Sample) -> dict[str, Any]:
        """The words of each entity, the guidance at this point, and the LoRA for methods that have one."""
        settings: dict[str, Any] = dict(point.settings)
        options: dict[str, Any] = {
            "entities": entity_words(sample.layout.prompt),
            "concentration": asdict(replace(self.guidance, **settings)),
        }
        if METHODS[point.method].lora:
            if self.lora is None:
                raise PlanError(f"{point.method} draws with a LoRA, and none is given; name its file")
            options["lora"] = {"file": str(self.lora.file.resolve()), "strength": self.lora.strength}
        return options


def point_at(guidance: Guidance, method: str, strength: float, weights: Weights) -> Point:
    """The point at which pictures of a method with these settings are kept.

    What makes no difference is one point: without strength or weights a method is its baseline, and with
    those of the guidance it is the method alone.
    """
    own = guidance.token_weight, guidance.pixel_weight
    if not METHODS[method].weighted:
        weights = own
    elif not any(weights):
        return Point(BASELINES[method])
    if not strength:
        return Point(BASELINES[method])
    if (strength, weights) == (guidance.strength, own):
        return Point(method)
    names = ("strength", "token_weight", "pixel_weight")
    return Point(method, tuple(zip(names, map(float, (strength, *weights)), strict=True)))


def make_sweeps(
    methods: Sequence[str], strengths: Sequence[float], weights: Sequence[Weights]
) -> tuple[Sweep, ...]:
    """Every guided method with every pair of weights, strengths in ascending order.

    Raises `PlanError` for a method that has no strength, or weights of one that has none.
    """
    for method in methods:
        if method not in BASELINES:
            raise PlanError(f"{method} has no strength to vary; choose from {', '.join(BASELINES)}")
    ordered = tuple(sorted(set(strengths)))
    # Whatever the weights are, they are not those of a method without.
    pairs = [
        (method, pair if METHODS[method].weighted else (1.0, 1.0))
        for method, pair in itertools.product(methods, dict.fromkeys(weights))
    ]
    return tuple(Sweep(method, pair, ordered) for method, pair in dict.fromkeys(pairs))


def entity_words(prompt: str) -> list[list[Span]]:
    """For each thing of a caption of Shapes World the character spans of its words, the noun last."""
    return [
        [
            (match.start(1) + word.start(), match.start(1) + word.end())
            for word in re.finditer(r"\w+", match[1])
        ]
        for match in _FIGURE.finditer(prompt)
    ]
