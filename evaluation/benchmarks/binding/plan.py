"""Plan of an evaluation of binding: its scenes, the settings of guided methods, and sweeps over them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ....generation.binding_methods import BASELINES, METHODS
from ...scenes import PlanError, Scenes

# A figure in a caption: its words without the article.
_FIGURE = re.compile(r"\ban? (.+?)(?=, | and | on )")

Span = tuple[int, int]
Weights = tuple[float, float]


@dataclass(frozen=True)
class BindingPlan(Scenes):
    """An evaluation of binding: the scenes, and the settings of every guided method.

    The settings are those of the node Attribute Concentration. A method's name may say others: "local@2,1,0"
    is local at strength 2 with the weights 1 of the token term and 0 of the pixel term.
    """

    figures: tuple[int, ...] = (2, 3, 4)
    strength: float = 1.0
    token_weight: float = 1.0
    pixel_weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    layers: str = "middle and decoder"

    def job(self, method: str, number: int) -> dict[str, Any]:
        """What the sampling process is asked for, all but the file's place."""
        method, strength, (token_weight, pixel_weight) = self.setting(method)
        job = super().job(method, number)
        settings = {name: getattr(self, name) for name in ("start", "end", "layers")}
        settings |= {"strength": strength, "token_weight": token_weight, "pixel_weight": pixel_weight}
        return {**job, "entities": entity_words(job["layout"]["prompt"]), "concentration": settings}

    def setting(self, name: str) -> tuple[str, float, Weights]:
        """Method, strength, and weights of the token and of the pixel term that a name stands for."""
        method, at, numbers = name.partition("@")
        if not at:
            return method, self.strength, (self.token_weight, self.pixel_weight)
        strength, token_weight, pixel_weight = map(float, numbers.split(","))
        return method, strength, (token_weight, pixel_weight)

    def name(self, method: str, strength: float, weights: Weights) -> str:
        """The name under which pictures of a method at these settings are kept.

        What makes no difference has one name: without strength or weights a method is its baseline.
        """
        if not METHODS[method].weighted:
            weights = self.token_weight, self.pixel_weight
        elif not any(weights):
            return BASELINES[method]
        if not strength:
            return BASELINES[method]
        if (method, strength, weights) == self.setting(method):
            return method
        return f"{method}@{strength:g},{weights[0]:g},{weights[1]:g}"


@dataclass(frozen=True)
class Sweep:
    """A guided method at several strengths, with one pair of weights."""

    method: str
    weights: Weights
    strengths: tuple[float, ...]

    def names(self, plan: BindingPlan) -> list[str]:
        """The name of each point, see `BindingPlan.name`."""
        return [plan.name(self.method, strength, self.weights) for strength in self.strengths]


def make_sweeps(
    methods: Sequence[str], strengths: Sequence[float], weights: Sequence[Weights]
) -> list[Sweep]:
    """Every guided method with every pair of weights, strengths in ascending order.

    Raises `PlanError` for a method that has no strength, or weights of one that has none.
    """
    for method in methods:
        if method not in BASELINES:
            raise PlanError(f"{method} has no strength to vary; choose from {', '.join(BASELINES)}")
    ordered = tuple(sorted(set(strengths)))
    # Whatever the weights are, they are not this method's.
    pairs = [
        (method, (1.0, 1.0) if not METHODS[method].weighted else pair)
        for method, pair in itertools.product(methods, dict.fromkeys(weights))
    ]
    return [Sweep(method, pair, ordered) for method, pair in dict.fromkeys(pairs)]


def entity_words(prompt: str) -> list[list[Span]]:
    """For each thing of a caption of Shapes World the character spans of its words, the noun last."""
    return [
        [
            (match.start(1) + word.start(), match.start(1) + word.end())
            for word in re.finditer(r"\w+", match[1])
        ]
        for match in _FIGURE.finditer(prompt)
    ]
