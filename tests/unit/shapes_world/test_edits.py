"""Edits of a scene: what becomes of the places of its things."""

from __future__ import annotations

import numpy as np
import pytest

from instance_composer.shapes_world.edits import _mirror
from instance_composer.shapes_world.scenes import draw_scene


def test_mirroring_turns_one_side_over_and_leaves_the_other():
    random = np.random.default_rng(0)
    scene = draw_scene(random, 128, 96, 3, "train")
    assert all(f.center[0] != 64 and f.center[1] != 48 for f in scene.figures)
    turned = set()
    for _ in range(20):
        mirrored = _mirror(random, scene)
        for before, after in zip(scene.figures, mirrored.figures, strict=True):
            x, y = before.center
            sideways = after.center[0] != x
            turned.add(sideways)
            assert after.center == pytest.approx((128 - x, y) if sideways else (x, 96 - y))
            assert (after.look, after.diameter) == (before.look, before.diameter)
    assert turned == {True, False}
