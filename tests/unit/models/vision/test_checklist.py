"""The checklist of a layout: what is asked, of which part of the picture, and what real renders get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from instance_composer.evaluation.scorers.world_models import WorldJudge
from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.vision.checklist import check, questions
from instance_composer.shapes_world import ShapesWorld


class Noting:
    """A judge that says yes to some, and keeps what it saw."""

    def __init__(self, *yes: str) -> None:
        self.yes, self.seen = yes, []

    def answer(self, pictures, questions):
        self.seen += [(picture.size, question) for picture, question in zip(pictures, questions, strict=True)]
        return ["Yes." if any(word in question for word in self.yes) else "No" for question in questions]


LAYOUT = Layout(
    (
        Instance("1", Box(0, 0, 0.5, 0.5), "a red cup"),
        Instance("2", Box(0.3, 0.3, 0.8, 0.8), "a blue vase"),
        Instance("3", Box(0.9, 0.9, 1, 1), "a coin"),
        Instance("4", Box(0, 0, 1, 1), "a ghost", enabled=False),
    )
)


def test_every_thing_is_asked_for_and_pairs_that_cover_each_other():
    asked = questions(LAYOUT)
    assert [one.instances for one in asked] == [("1",), ("1",), ("2",), ("2",), ("3",), ("3",)]
    deep = replace(LAYOUT.instances[1], box=Box(0.2, 0.2, 0.6, 0.6))
    more = questions(replace(LAYOUT, instances=(LAYOUT.instances[0], deep)))
    assert more[-1].instances == ("1", "2")
    assert '"a blue vase" in front of "a red cup"' in more[-1].text


def test_each_question_sees_its_box_with_a_margin_inside_the_picture():
    judge = Noting("red cup", "coin")
    found = check(Image.new("RGB", (100, 200)), LAYOUT, judge)
    assert [size for size, _ in judge.seen[::2]] == [(55, 110), (60, 120), (11, 22)]
    assert found.score == pytest.approx(4 / 6)
    assert found.answers == (True, True, False, False, True, True)
    assert found.shares == {"spatial": pytest.approx(2 / 3), "attribute": pytest.approx(2 / 3)}
    assert [one.short for one in found.denied] == ['"a blue vase" in its place', 'looks of "a blue vase"']


def test_a_layout_that_asks_for_nothing_is_told():
    with pytest.raises(ValueError, match="no instance to ask about"):
        check(Image.new("RGB", (64, 64)), Layout((LAYOUT.instances[3],)), Noting())


def test_real_renders_hold_what_their_layouts_say_and_others_do_not():
    world = ShapesWorld(seed=5, split="all", figures=2)
    right, wrong = [], []
    for number in range(4):
        picture = Image.fromarray(world[number].image)
        right.append(check(picture, world[number].layout, WorldJudge()).score)
        wrong.append(check(picture, world[number + 1].layout, WorldJudge()).score)
    assert np.mean(right) > 0.9
    assert np.mean(wrong) < 0.5
