"""Selection of the detections that become instances."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_composer.annotation.selection import Limits, intersection_over_union, select
from instance_composer.layout import Box
from instance_composer.models.vision.interfaces import Detection

numbers = st.floats(-0.5, 1.5)
detections = st.lists(
    st.builds(
        Detection,
        st.sampled_from(["cat", "dog"]),
        st.builds(Box, numbers, numbers, numbers, numbers),
        st.floats(0, 1),
    ),
    max_size=25,
)


@given(detections, st.integers(1, 10), st.floats(0.001, 0.3), st.floats(0, 1))
def test_what_is_chosen_keeps_the_limits_and_the_surest_is_among_it(found, most, smallest, overlap):
    chosen = select(found, Limits(most, smallest, overlap))
    assert len(chosen) <= most
    for one in chosen:
        assert one.box == one.box.clipped()
        assert one.box.area >= smallest
        others = [other for other in chosen if other is not one]
        assert all(intersection_over_union(one.box, other.box) <= overlap for other in others)
    areas = [one.box.area for one in chosen]
    assert areas == sorted(areas, reverse=True)
    usable = [one for one in found if (box := one.box.clipped()) and box.area >= smallest]
    assert max((one.score for one in usable), default=None) == max((c.score for c in chosen), default=None)


def test_one_thing_found_under_two_words_is_one_thing():
    dog = Detection("dog", Box(0.1, 0.1, 0.5, 0.5), 0.6)
    puppy = Detection("puppy", Box(0.11, 0.1, 0.5, 0.52), 0.8)
    cat = Detection("cat", Box(0.5, 0.1, 0.9, 0.5), 0.4)
    assert select([dog, puppy, cat], Limits()) == [puppy, cat]
    assert set(select([dog, puppy, cat], Limits(overlap=1.0))) == {dog, puppy, cat}
    assert select([dog, puppy, cat], Limits(most=1)) == [puppy]


@pytest.mark.parametrize("box", [Box(math.nan, 0, 1, 1), Box(0.6, 0.6, 0.4, 0.4), Box(1.1, 0, 1.4, 1)])
def test_boxes_that_are_none_are_dropped(box):
    assert select([Detection("cat", box, 0.9)], Limits(smallest=0.0)) == []


def test_overlap_is_what_two_boxes_share():
    left, right = Box(0.0, 0.0, 0.5, 1.0), Box(0.25, 0.0, 0.75, 1.0)
    assert intersection_over_union(left, right) == pytest.approx(1 / 3)
    assert intersection_over_union(left, left) == 1.0
    assert intersection_over_union(left, Box(0.5, 0.0, 1.0, 1.0)) == 0.0
