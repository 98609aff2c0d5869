"""Best of N on the demo model, small: what any way of choosing must hold to."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from instance_composer.demo import FOLDER
from instance_composer.evaluation.benchmarks.best_of_n import NUMBERS, measure_best_of_n, measure_pairs
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
