"""Preferences in Shapes World: what is better is truly better, in the aspect that is asked for."""

import math
from dataclasses import replace

import numpy as np
import pytest

from instance_composer.models.rewards import ASPECTS
from instance_composer.shapes_world import Look, Phrase, paint
from instance_composer.shapes_world.preferences import (
    Comparisons,
    Content,
    Thing,
    Wish,
    content_of,
    measure,
    read_content,
    word_truths,
    words,
)

CIRCLE, SQUARE = Look("circle", "red", "striped"), Look("square", "blue", "plain")
WISH = Wish((Phrase(CIRCLE, ""), Phrase(SQUARE, "small")), "left of", "grey")
RIGHT = Content((Thing(CIRCLE, (0.2, 0.5), 0.4), Thing(SQUARE, (0.8, 0.5), 0.2)), "grey")


def changed(**things) -> Content:
    return replace(RIGHT, **things)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (RIGHT, (1, 1, 1)),
        (changed(background="mint"), (1, 1, 2 / 3)),
        (changed(things=RIGHT.things[::-1]), (1, 1, 1)),
        (changed(things=(replace(RIGHT.things[0], center=(0.9, 0.5)), RIGHT.things[1])), (1, 0, 1)),
        # Colours exchanged: two of six attributes are on the wrong thing, both things are still there.
        (
            changed(
                things=(
                    replace(RIGHT.things[0], look=CIRCLE._replace(color="blue")),
                    replace(RIGHT.things[1], look=SQUARE._replace(color="red")),
                )
            ),
            (4 / 6, 1, 1),
        ),
        (changed(things=RIGHT.things[:1]), (0.5, 0, 1 / 3)),
        (Content((), "grey"), (0, 0, 1 / 3)),
    ],
)
def test_each_aspect_measures_its_own(content, expected):
    assert measure(WISH, content) == pytest.approx(expected)


def test_a_wish_without_a_relation_says_nothing_of_places():
    assert math.isnan(measure(replace(WISH, relation=""), RIGHT)[1])


def test_words_say_what_they_are_true_of():
    assert WISH.prompt == "a red striped circle left of a small blue square on grey"
    truths = word_truths(WISH, changed(background="mint", things=(RIGHT.things[0],)))
    told = dict(zip(WISH.prompt.split(), truths, strict=True))
    assert [told[word] for word in ("red", "striped", "circle")] == [1, 1, 1]
    assert [told[word] for word in ("left", "small", "blue", "square", "on", "grey")] == [0] * 6
    assert math.isnan(told["a"])


@pytest.fixture(scope="module")
def comparisons():
    world = Comparisons(seed=5)
    return [world[number] for number in range(12)]


def test_every_prompt_is_true_of_its_own_scene_and_in_the_vocabulary(comparisons):
    known = set(words())
    for comparison in comparisons:
        for number, wish in enumerate(comparison.wishes):
            own = comparison.truth[number, number]
            assert np.nan_to_num(own, nan=1.0).tolist() == [1, 1, 1]
            tokens = wish.prompt.replace(",", " ,").split()
            assert known.issuperset(tokens)
            assert len(tokens) == len(word_truths(wish, content_of(comparison.scenes[0])))
            assert len(tokens) <= 33


def test_comparisons_differ_in_every_aspect_and_come_again(comparisons):
    for place, aspect in enumerate(ASPECTS):
        truths = np.concatenate([c.truth[..., place].ravel() for c in comparisons])
        assert len(np.unique(truths[~np.isnan(truths)])) > 1, aspect
    again = Comparisons(seed=5)[3]
    assert again.scenes == comparisons[3].scenes
    assert again.wishes == comparisons[3].wishes


def test_the_judge_finds_in_a_picture_what_is_in_the_scene(comparisons):
    """So generated pictures are measured as renders are."""
    agreed = [
        measure(wish, read_content(paint(scene).image)) == pytest.approx(truth, nan_ok=True, abs=0.01)
        for comparison in comparisons[:8]
        for wish, row in zip(comparison.wishes, comparison.truth, strict=True)
        for scene, truth in zip(comparison.scenes, row, strict=True)
    ]
    assert sum(agreed) / len(agreed) > 0.85
