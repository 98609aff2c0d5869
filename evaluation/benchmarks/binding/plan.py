"""Plan of an evaluation of binding: its scenes, the settings of guided methods, and sweeps over them."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ....generation.binding_methods import BASELINES, METHODS
from ....generation.jobs import Job
from ....shapes_world import Sample
from ....shapes_world.judge import read_things
from ...benchmark import Pixels, PlanError, Point
from ...scenes import ScenePlan, Scenes, sentences
from ...scorers.binding import outlined

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
    """A LoRA file of the UNet, the name it is compared under, and its strength."""

    name: str
    file: Path
    strength: float = 1.0

    @functools.cached_property
    def identity(self) -> str:
        """Name, the beginning of the SHA-256 of what is in the file, and the strength."""
        digest = hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]
        return f"{self.name} {digest} {self.strength:g}"


@dataclass(frozen=True)
class Sweep:
    """A guided method at several strengths, with one pair of weights, of token and pixel term, and one LoRA
    if the method has any.
    """

    method: str
    weights: Weights
    strengths: tuple[float, ...]
    lora: str = ""

    def points(self, guidance: Guidance) -> list[Point]:
        """One point a strength, see `point_at`."""
        points = (point_at(guidance, self.method, strength, self.weights) for strength in self.strengths)
        return [point._replace(lora=self.lora) for point in points]


@dataclass(frozen=True)
class BindingPlan(ScenePlan):
    """An evaluation of binding: every method with the same guidance, and sweeps that differ from it.

    Methods with a LoRA are run with each of `loras`.
    """

    family: ClassVar[str] = "binding"

    scenes: Scenes = field(default_factory=lambda: Scenes((2, 3, 4)))
    guidance: Guidance = field(default_factory=Guidance)
    sweeps: tuple[Sweep, ...] = ()
    loras: tuple[Lora, ...] = ()

    def points(self) -> Sequence[Point]:
        """All methods with the plan's guidance, then what the sweeps have besides."""
        swept = (point for sweep in self.sweeps for point in sweep.points(self.guidance))
        return list(dict.fromkeys([*self.compared(), *swept]))

    def compared(self) -> list[Point]:
        """All methods with the plan's guidance, those with a LoRA once for each."""
        return [
            Point(method, lora=lora)
            for method in self.methods
            for lora in (self.lora_identities() if METHODS[method].lora else [""])
        ]

    def lora_identities(self) -> list[str]:
        """The LoRAs as points name them."""
        return [lora.identity for lora in self.loras]

    def first(self, point: Point) -> Point | None:
        """The baseline of a method that redraws."""
        return Point(BASELINES[point.method]) if METHODS[point.method].redraws else None

    def after(self, job: Job, picture: Pixels) -> Job:
        """The job with each instance where the judge finds its thing in the picture, as a mask."""
        return replace(job, layout=outlined(job.layout, read_things(picture)))

    def settings(self) -> dict[str, Any]:
        """The guidance."""
        return asdict(self.guidance)

    def options(self, point: Point, sample: Sample) -> dict[str, Any]:
        """The words of each entity, the guidance at this point, a sentence for each region, and the LoRA for
        methods that have one.
        """
        settings: dict[str, Any] = dict(point.settings)
        options: dict[str, Any] = {
            "entities": entity_words(sample.layout.prompt),
            "concentration": asdict(replace(self.guidance, **settings)),
            "sentences": sentences(sample),
        }
        if METHODS[point.method].lora:
            found = [lora for lora in self.loras if lora.identity == point.lora]
            if not found:
                raise PlanError(f"{point.method} draws with a LoRA, and none is given; name its file")
            options["lora"] = {"file": str(found[0].file.resolve()), "strength": found[0].strength}
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
    methods: Sequence[str],
    strengths: Sequence[float],
    weights: Sequence[Weights],
    loras: Sequence[Lora] = (),
) -> tuple[Sweep, ...]:
    """Every guided method with every pair of weights and every LoRA, strengths in ascending order.

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
    return tuple(
        Sweep(method, pair, ordered, lora)
        for method, pair in dict.fromkeys(pairs)
        for lora in ([one.identity for one in loras] if METHODS[method].lora else [""])
    )


def entity_words(prompt: str) -> list[list[Span]]:
    """For each thing of a caption of Shapes World the character spans of its words, the noun last."""
    return [
        [
            (match.start(1) + word.start(), match.start(1) + word.end())
            for word in re.finditer(r"\w+", match[1])
        ]
        for match in _FIGURE.finditer(prompt)
    ]
