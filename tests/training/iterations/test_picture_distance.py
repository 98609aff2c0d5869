"""Picture distance: nothing for the same pictures, what was added for others, and what is much beside it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from instance_composer.rankings.gallery import Prompt
from instance_composer.rankings.pictures import picture_file
from instance_composer.training.iterations.picture_distance import picture_distances


def test_distances_are_of_the_same_prompts(tmp_path):
    prompts = [Prompt("attribute", number, f"prompt {number}") for number in range(3)]
    for one in prompts:
        for member, shade in (("base", 40 * one.number), ("same", 40 * one.number), ("other", 51)):
            file = picture_file(tmp_path, member, one)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (96, 64), (shade,) * 3).save(file)
    same, unrelated = picture_distances(tmp_path, "base", "same", prompts)
    assert np.array_equal(same, np.zeros(3))
    assert unrelated == pytest.approx([80 / 255, 40 / 255, 40 / 255])
    other, _ = picture_distances(tmp_path, "base", "other", prompts)
    assert other == pytest.approx([51 / 255, 11 / 255, 29 / 255])
    alone, none = picture_distances(tmp_path, "base", "other", prompts[:1])
    assert len(alone) == 1
    assert len(none) == 0
