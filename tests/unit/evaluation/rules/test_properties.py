"""What the rules hold to beyond the cases of the official scorers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_composer.evaluation.rules import coco_mig, layoutsam, numeracy, occlusion, three_in_one
from instance_composer.evaluation.rules.boxes import common_box, intersection, overlap, suppress
from instance_composer.evaluation.rules.spatial import Found

SIDES = st.floats(0, 100, allow_nan=False)
BOXES = st.tuples(SIDES, SIDES, SIDES, SIDES).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)


@given(BOXES, BOXES)
def test_overlap_is_symmetric_and_a_share(a, b):
    assert overlap(a, b) == overlap(b, a)
    assert 0 <= overlap(a, b) <= 1 + 1e-9
    shared = common_box(a, b)
    assert (shared is not None) == (intersection(a, b) > 0) or intersection(a, b) == 0


@given(st.lists(BOXES, max_size=6))
def test_what_stays_overlaps_no_better_one(boxes):
    scores = [1 - n / 10 for n in range(len(boxes))]
    kept = suppress(boxes, scores, 0.5)
    assert kept[:1] == ([0] if boxes else [])
    assert all(overlap(boxes[i], boxes[j]) <= 0.5 for i in kept for j in kept if i < j)


def test_kinds_go_by_the_text_before_the_first_stop():
    spatial, action = {three_in_one.key("A red hat is near a bag.")}, {three_in_one.key("He ran. Away.")}
    assert three_in_one.kind("a RED hat is near a bag", spatial, action) == "attribute+spatial"
    assert three_in_one.kind("He ran.", spatial, action) == "attribute+action"
    assert three_in_one.kind("Neither.", spatial, action) == "all three"


@pytest.mark.parametrize(
    ("prompt", "things"),
    [
        ("two ships", [("boat", 2)]),
        ("a traffic light and three traffic lights", [("traffic light", 1), ("traffic light", 3)]),
        ("one sheep, four sheep", [("sheep", 1), ("sheep", 4)]),
        ("two clouds", []),
        ("seven", []),
    ],
)
def test_numbers_are_read_with_names_of_one_and_two_words(prompt, things):
    nouns = numeracy.Nouns.read(
        "ship - ships\nsheep - sheep\ntraffic light - traffic lights\n\nlight - lights\n"
    )
    assert numeracy.counted_things(prompt, nouns) == things


def test_a_list_of_another_form_is_told():
    with pytest.raises(ValueError, match="bottles"):
        numeracy.Nouns.read("bottle, bottles")
    with pytest.raises(ValueError, match="a red dining table"):
        coco_mig.split_label("red table")


def test_a_thing_inside_itself_is_counted_once():
    one, inside = Found("cat", (0, 0, 99, 99), 0.9), Found("cat", (20, 20, 60, 60), 0.8)
    other = Found("dog", (20, 20, 60, 60), 0.7)
    assert numeracy.thinned([one, inside, other]) == [one, other]


def test_pictures_keep_their_corners_when_they_are_fitted():
    picture = np.zeros((256, 640, 3), dtype=np.uint8)
    picture[:128, :320] = 200
    fitted = coco_mig.fitted(picture)
    assert fitted.shape == (512, 512, 3)
    assert (fitted[:250, :250] == 200).all()
    assert (fitted[260:, 260:] == 0).all()


def test_a_level_without_pictures_has_no_value():
    found = coco_mig.metrics([[coco_mig.Verdict(True, True, 0.9)] * 2])
    assert found["inst_level_sucess_ratio"] == [1.0, None, None, None, None]


def test_averages_of_nothing_are_nothing():
    assert layoutsam.averages([]) == dict.fromkeys(layoutsam.QUESTIONS, 0.0)
    assert not layoutsam.is_yes("YES")
    assert layoutsam.caption("a black/white cat") == "a blackwhite cat"


def test_nearness_is_that_of_the_thing_and_not_of_what_two_share():
    boxes = [(0, 0, 60, 60), (40, 40, 100, 100), (200, 200, 210, 210)]
    assert occlusion.pairs(boxes) == [(0, 1)]
    assert common_box(boxes[0], boxes[1]) == (40, 40, 60, 60)
    depth = np.zeros((220, 220))
    depth[10:50, 10:50], depth[50:90, 50:90] = 0.3, 0.8
    assert occlusion.nearness(depth, boxes[0], boxes[1]) == pytest.approx(0.3)
    assert occlusion.nearness(depth, boxes[1], boxes[0]) == pytest.approx(0.8)
    assert occlusion.nearness(depth, boxes[0], boxes[0]) is None


def test_an_order_is_told_of_pairs_that_share_enough():
    small, touching, deep = (0, 0, 10, 10), (9, 0, 30, 10), (7, 0, 30, 10)
    assert occlusion.pairs([small, touching]) == [(0, 1)]
    assert occlusion.deep_pairs([small, touching]) == []
    assert occlusion.deep_pairs([small, deep]) == [(0, 1)]


def test_what_pairs_share_is_found_or_not():
    wanted = (0, 0, 60, 60), (40, 40, 100, 100)
    assert occlusion.shared_overlap(wanted, wanted) == 1.0
    assert occlusion.shared_overlap(wanted, (wanted[0], None)) == 0.0
    assert occlusion.shared_overlap(wanted, (wanted[0], (70, 70, 80, 80))) == 0.0
    assert occlusion.shared_overlap(wanted, ((0, 0, 50, 60), wanted[1])) == pytest.approx(0.5)
