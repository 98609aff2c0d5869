"""Best of N on the demo model, small: what any way of choosing must hold to."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pytest

from instance_composer.demo import FOLDER
from instance_composer.evaluation.benchmarks.best_of_n import (
    NUMBERS,
    main,
    measure_best_of_n,
    measure_pairs,
    wishes,
)
from instance_composer.models.rewards import ASPECTS


def test_the_truth_is_the_most_that_choosing_can_reach():
    settings = argparse.Namespace(
        model=FOLDER, rewards=FOLDER / "rewards", prompts=2, things=2, steps=2, guidance=2.0
    )
    found = measure_best_of_n(settings)
    means = {
        name: {number: [mean for mean, _ in own[number]] for number in NUMBERS}
        for name, own in found["table"].items()
    }
    assert set(means) == {"chance", "reward", "likelihood", "truth"}
    for name, own in means.items():
        assert own[1] == pytest.approx(means["chance"][1], abs=1e-4), name
        for number in NUMBERS:
            assert sum(own[number]) <= sum(means["truth"][number]) + 1e-3, name
    sums = [sum(means["truth"][number]) for number in NUMBERS]
    assert sums == sorted(sums)


def test_pairs_alone_are_some_of_all_pairs():
    found = measure_pairs(argparse.Namespace(rewards=FOLDER / "rewards", comparisons=3))
    for own in found.values():
        for aspect in ASPECTS:
            every, alone = own[aspect], own[f"{aspect} alone"]
            assert every["pairs"] >= alone["pairs"]
            assert 0 <= every["accuracy"] <= 1
    # The shipped model tells attributes apart well above chance.
    assert np.mean([own["attribute"]["accuracy"] for own in found.values()]) > 0.6


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("best", "--model", "x", "--things", "1"), "--things: a whole number from 2 to 8 is needed, got"),
        (("best", "--model", "x", "--things", "9"), "from 2 to 8"),
        (("best", "--model", "x", "--prompts", "1"), "--prompts: a whole number from 2"),
        (("best", "--model", "x", "--steps", "0"), "from 1 to 1000"),
        (("best", "--model", "x", "--guidance", "nan"), "--guidance: a number from 0"),
        (("pairs", "--comparisons", "0"), "--comparisons: a whole number from 1"),
    ],
)
def test_numbers_that_end_nowhere_are_refused(words, complaint, monkeypatch, capsys):
    """Prompts have a relation, which one thing alone does not have."""
    monkeypatch.setattr(sys, "argv", ["best_of_n", *words, "--rewards", "none"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert complaint in capsys.readouterr().err


def test_scenes_of_the_most_things_have_prompts_with_relations():
    assert all(wish.relation for wish in wishes(2, 8))
