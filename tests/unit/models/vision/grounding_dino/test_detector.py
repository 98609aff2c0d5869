"""Captions of nouns, boxes, and the rules by which a box shows a noun."""

from __future__ import annotations

import pytest
import torch

from instance_composer.models.vision.grounding_dino.captions import Caption, group_nouns
from instance_composer.models.vision.grounding_dino.conversion import STOP
from instance_composer.models.vision.grounding_dino.detector import NounDetector, corners
from instance_composer.models.vision.grounding_dino.noun_rules import (
    exact_phrase,
    highest_average,
    surest_token,
)

# [CLS] book . light ##house . [SEP]
NOUNS = [(7,), (8, 9)]
CAPTION = Caption.of(NOUNS, 101, 102)


def found(*rows, box=0.3, text=0.25):
    matches = exact_phrase(torch.tensor(rows), CAPTION, box, text)
    return [(noun, score) for _, noun, score in matches]


def test_the_tokens_of_a_caption():
    assert CAPTION.ids == (101, 7, STOP, 8, 9, STOP, 102)
    assert CAPTION.positions == ((1,), (3, 4))
    assert Caption.of([], 101, 102) == Caption((101, 102), (), ())


def test_as_many_nouns_at_a_time_as_fit():
    # Of 8 tokens two are start and end, and each noun has its stop.
    assert group_nouns([[1], [2, 3], [4], [5]], 8) == [[0, 1], [2, 3]]
    assert group_nouns([[1], list(range(9)), [4]], 8) == [[0], [1], [2]], "one that is too long goes alone"
    assert group_nouns([], 8) == []


def test_a_phrase_has_to_be_the_noun():
    low = 0.01
    assert found([low, 0.9, low, low, low, low, low]) == [(0, pytest.approx(0.9))]
    assert found([low, low, low, 0.6, 0.5, low, low]) == [(1, pytest.approx(0.6))]
    assert found([low, low, low, 0.6, 0.1, low, low]) == [], "half a noun"
    assert found([low, 0.5, low, 0.6, 0.5, low, low]) == [], "two nouns"
    assert found([0.9, 0.5, 0.9, low, low, 0.9, 0.9]) == [(0, pytest.approx(0.9))], "no words beside it"


def test_thresholds():
    row = [0.01, 0.29, 0.01, 0.01, 0.01, 0.01, 0.01]
    assert found(row) == []
    assert found(row, box=0.2) == [(0, pytest.approx(0.29))]
    assert found(row, box=0.2, text=0.295) == []


def test_the_highest_average_on_known_scores():
    # [CLS] traffic light ##s . cat . [SEP]
    caption = Caption.of([(4, 5, 6), (7,)], 101, 102)
    scores = torch.full((4, 16), 0.01)
    scores[0, [1, 2, 3]] = torch.tensor([0.6, 0.3, 0.3])  # "traffic lights" by 0.4 on average
    scores[1, 5] = 0.36  # "cat"
    scores[2, [1, 2, 3, 5]] = torch.tensor([0.6, 0.0, 0.0, 0.1])  # sure of a piece, of no word
    scores[3, 4] = 0.9  # the stop is no word
    scores[:, 8:] = 0
    matches = highest_average(scores, caption, 0.35, 0.25)
    assert [(query, noun) for query, noun, _ in matches] == [(0, 0), (1, 1)]
    assert [score for *_, score in matches] == pytest.approx([0.6, 0.36])
    assert [noun for _, noun, _ in highest_average(scores, caption, 0.37, 0.25)] == [0]
    assert [noun for _, noun, _ in highest_average(scores, caption, 0.35, 0.39)] == [0]
    assert highest_average(scores, Caption.of([], 101, 102), 0.0, 0.0) == []
    beyond = Caption.of([(4,) * 20, (7,)], 101, 102)
    assert {noun for _, noun, _ in highest_average(scores, beyond, 0.0, 0.0)} == {0}, "what is read of it"


def test_the_surest_token_of_all_is_enough_for_a_noun_that_is_looked_for_alone():
    """As MIG_Bench scores: of a class of several pieces one may be seen, and a stop counts as a word does."""
    # [CLS] dining table . [SEP]
    caption = Caption.of([(7759, 2795)], 101, 102)
    scores = torch.full((3, 256), 0.01)
    scores[0, [1, 2]] = torch.tensor([0.10, 0.34])
    scores[1, 3] = 0.4
    scores[2, [1, 2]] = torch.tensor([0.24, 0.24])
    assert highest_average(scores, caption, 0.25, 0.25) == []
    matches = surest_token(scores, caption, 0.25, 0.25)
    assert [(query, noun) for query, noun, _ in matches] == [(0, 0), (1, 0)]
    assert [score for *_, score in matches] == pytest.approx([0.34, 0.4])
    assert surest_token(scores, Caption.of([], 101, 102), 0.0, 0.0) == []
    with pytest.raises(ValueError, match="got 2; look for each alone"):
        surest_token(scores, CAPTION, 0.25, 0.25)


@pytest.mark.parametrize(("rule", "nouns"), [(exact_phrase, [1]), (highest_average, [1, 1])])
def test_the_rule_decides_what_the_same_network_finds(rule, nouns):
    """Of two queries both are sure of "lighthouse", and the second one of its first piece alone."""
    scores = torch.full((1, 2, 7), 0.01)
    scores[0, 0, [3, 4]] = torch.tensor([0.6, 0.5])
    scores[0, 1, [3, 4]] = torch.tensor([0.6, 0.1])
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 1.0], [0.9, 0.5, 0.4, 0.2]]])
    words = {"book": [7], "lighthouse": [8, 9]}

    def network(pixels, captions):
        assert captions == [CAPTION.ids]
        return scores.logit(), boxes

    detector = NounDetector(network, words.__getitem__, (101, 102), rule)
    (results,) = detector.find(torch.zeros(1, 3, 8, 8), [["book", "lighthouse"]], 0.3, 0.25)
    assert [one.noun for one in results] == nouns
    assert results[0].box == (0.25, 0.0, 0.75, 1.0)
    assert results[0].score == pytest.approx(0.6)


def test_boxes_by_centre_become_corners():
    assert corners([0.5, 0.5, 0.5, 1.0]) == (0.25, 0, 0.75, 1)
    assert corners([0.9, 0.5, 0.4, 0.2]) == pytest.approx((0.7, 0.4, 1.1, 0.6)), "perhaps beyond the picture"
