"""Relation pairs: two pictures that differ in a relation alone, and two prompts that say it either way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .captions import Phrase
from .preferences import Comparison, Wish, content_of, measure
from .relations import OPPOSITES, holds
from .scenes import Scene, draw_scene, state_relation
from .vocabulary import Split, size_word


@dataclass(frozen=True)
class RelationPairs:
    """Relation pairs numbered from 0; the same seed and settings give the same ones on every machine.

    Two things of a scene exchange their places, and are of one size so that nothing else changes. Words of
    a prompt alone, and pictures alone, tell nothing: each of the two pictures is right for one of two prompts
    of the same things. `figures` are the shares of scenes with 2, 3, … things.
    """

    seed: int = 0
    width: int = 128
    height: int = 128
    split: Split = "train"
    figures: tuple[float, ...] = (0.6, 0.4)

    def __getitem__(self, number: int) -> Comparison:
        random = np.random.default_rng([self.seed, number, 9])
        count = int(random.choice(len(self.figures), p=self.figures)) + 2
        first = self._scene(random, count)
        order = [0, 1] if random.random() < 0.5 else [1, 0]
        order += [int(n) for n in random.permutation(np.arange(2, count))]
        things = [content_of(first).things[n] for n in order]
        a, b = (thing.center for thing in things[:2])
        # Of a pair on the diagonal either axis may be said.
        said = [relation for relation in OPPOSITES if holds(relation, a, b)]
        relation = said[int(random.integers(len(said)))]
        phrases = tuple(
            Phrase(thing.look, size_word(thing.size) if place > 1 and random.random() < 0.5 else "")
            for place, thing in enumerate(things)
        )
        scenes = (first, _exchanged(first))
        wishes = tuple(Wish(phrases, one, first.background) for one in (relation, OPPOSITES[relation]))
        contents = [content_of(scene) for scene in scenes]
        truth = [[measure(wish, content) for content in contents] for wish in wishes]
        return Comparison(scenes, wishes, np.array(truth))

    def _scene(self, random: np.random.Generator, count: int) -> Scene:
        while True:
            scene = _alike(draw_scene(random, self.width, self.height, count, self.split))
            # In very long pictures neighbours may be too close along the one and the other axis.
            if state_relation(scene).relation:
                return scene


def _alike(scene: Scene) -> Scene:
    """The scene with its first two things of the size of the smaller one, for which there is room."""
    a, b, *others = scene.figures
    size = min(a.diameter, b.diameter)
    return replace(scene, figures=(replace(a, diameter=size), replace(b, diameter=size), *others))


def _exchanged(scene: Scene) -> Scene:
    a, b, *others = scene.figures
    return replace(scene, figures=(replace(a, center=b.center), replace(b, center=a.center), *others))
