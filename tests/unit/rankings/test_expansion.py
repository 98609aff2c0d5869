"""Newcomers in a ranking, and pairs: the reference data's cases, and ties of people's rankings."""

from __future__ import annotations

import pytest
from golden_files import REFERENCES, read_facts

from instance_composer.rankings.expansion import (
    insert_newcomers,
    pairs_of_places,
    places_of,
    ranks_of,
)


def strict(ranking: list[int]) -> list[list[int]]:
    return [[one] for one in ranking]


@pytest.fixture(params=REFERENCES)
def folder(request):
    return request.param / "itercomp_loop"


def test_newcomers_take_the_places_of_the_reference(folder):
    cases = read_facts(folder / "gallery_expansion.json")["cases"]
    assert len(cases) > 20
    for case in cases:
        scores = {int(one): score for one, score in case["scores"].items()}
        scores |= {one["id"]: one["score"] for one in case["newcomers"]}
        newcomers = [one["id"] for one in case["newcomers"]]
        found = insert_newcomers(strict(case["old_ranking"]), scores, newcomers)
        assert found == strict(case["new_ranking"]), case["name"]
        places = strict(case["old_ranking"])
        for step in case["steps"]:
            places = insert_newcomers(places, scores, [step["newcomer"]])
            assert places == strict(step["ranking_after"])
            assert ranks_of(places)[step["newcomer"]] == step["place"]


def test_situations_in_which_the_released_script_fails_have_a_ranking(folder):
    """It stops, skips an id, or never compares with the best; the rule does none of it."""
    situations = read_facts(folder / "gallery_expansion.json")["official_script"]
    for one in situations:
        if not isinstance(one["input"], dict):
            continue
        given = one["input"]
        scores = dict(enumerate([*given["scores"], given["base"], given["new"]], 1))
        assert insert_newcomers(strict(given["rank"]), scores, [7, 8]) == strict(one["by_rule"])


def test_pairs_are_those_of_the_reference(folder):
    cases = read_facts(folder / "pairs.json")["cases"]
    assert len(cases) > 20
    for case in cases:
        places = strict(case["ranking"])
        every, touching = pairs_of_places(places), pairs_of_places(places, set(case["new_ids"]))
        assert every == [tuple(pair) for pair in case["all_pairs"]], case["case"]
        assert touching == [tuple(pair) for pair in case["pairs_touching_new"]], case["case"]
        assert (len(every), len(touching)) == (case["n_all"], case["n_touching_new"])


def test_a_newcomer_passes_a_shared_place_only_by_beating_all_who_share_it():
    places = [["a"], ["b", "c"], ["d"]]
    scores = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 0.0}
    assert insert_newcomers(places, {**scores, "e": 2.5}, ["e"]) == [["a"], ["e"], ["b", "c"], ["d"]]
    assert insert_newcomers(places, {**scores, "e": 2.0}, ["e"]) == [["a"], ["b", "c"], ["e"], ["d"]]
    assert places == [["a"], ["b", "c"], ["d"]]


def test_shared_places_make_no_pair():
    assert pairs_of_places([["a"], ["b", "c"]]) == [("a", "b"), ("a", "c")]
    assert pairs_of_places([["a"], ["b", "c"]], {"c"}) == [("a", "c")]


@pytest.mark.parametrize("score", [float("nan"), None])
def test_a_missing_score_is_told(score):
    scores = {"a": 1.0, **({} if score is None else {"b": score})}
    with pytest.raises(ValueError, match="b has no score to be placed by"):
        insert_newcomers([["a"]], scores, ["b"])


def test_places_and_ranks_are_each_others_inverse():
    ranks = {"a": 2, "b": 1, "c": 2, "d": 7}
    assert places_of(ranks) == [["b"], ["a", "c"], ["d"]]
    assert ranks_of(places_of(ranks)) == {"b": 1, "a": 2, "c": 2, "d": 3}
