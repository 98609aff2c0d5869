"""OverLayBench's measures: worked cases of matching, of what is shared, and of answers."""

from __future__ import annotations

import pytest

from instance_composer.evaluation.rules import overlaybench as rule

A, B, C = [0, 0, 100, 100], [50, 0, 150, 100], [500, 500, 600, 600]


def test_answers_are_json_fenced_or_alone():
    assert rule.read_answer('{"cat": 1}') == {"cat": 1}
    assert rule.read_answer('Sure:\n```json\n{"cat": 1}\n```') == {"cat": 1}
    for text in ("", "no", "[1]", "```json\n{cat}\n```", '{"cat": 1} indeed'):
        assert rule.read_answer(text) == {}


def test_boxes_are_cut_to_whole_pixels_of_1024():
    seen = {"cat": [[1, 2.9, "3", 4], [1, 2, 3], ["x", 0, 0, 1], None], "dog": "none"}
    assert rule.read_boxes(seen, (1024, 1024)) == {"cat": [[1, 2, 3, 4]], "dog": []}
    assert rule.read_boxes({"cat": [[1, 3, 255, 256]]}, (512, 256)) == {"cat": [[2, 12, 510, 1024]]}


def test_the_best_pair_comes_first_and_no_box_serves_twice():
    # Only A is found, B's overlap with it is 1/3 and goes empty; boxes of other kinds do not count.
    assert rule.matched([B, A], ["cat", "cat"], {"cat": [A], "dog": [B]}) == [None, A]
    found = rule.matched([A, B, C], ["cat", "cat", "dog"], {"cat": [B, A, C], "dog": [A]})
    assert found == [A, B, A]
    assert rule.overlaps([A, B, C], found) == [1, 1, 0]
    assert rule.overlaps([A, B], rule.matched([A, B], ["cat", "cat"], {"cat": [B]})) == [0, 1]


def test_what_two_share_is_compared_with_what_their_boxes_share():
    half = [50, 0, 100, 50]
    assert rule.shared_overlaps([A, B], [A, B], [(0, 1)]) == [1]
    assert rule.shared_overlaps([A, B], [A, half], [(0, 1)]) == [pytest.approx(0.5)]
    assert rule.shared_overlaps([A, B], [A, None], [(0, 1)]) == [0]
    assert rule.shared_overlaps([A, B], [A, C], [(0, 1)]) == [0]


def test_only_yes_is_yes_and_what_is_left_out_is_no():
    said = {"cat_1": "Yes", "cat_2": "yes", "dog_1": "Yes, it is", "dog_2": True}
    assert rule.confirmed(said, ["cat_1", "cat_2", "dog_1", "dog_2", "cow_1"]) == [
        True,
        True,
        False,
        False,
        False,
    ]
