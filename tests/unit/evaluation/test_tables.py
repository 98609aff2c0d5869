"""Tables of evaluations."""

from __future__ import annotations

from instance_composer.evaluation.benchmarks.placement.plan import Plan
from instance_composer.evaluation.statistics import success_rate
from instance_composer.evaluation.tables import by_word
from instance_composer.generation.placing_methods import METHODS
from instance_composer.shapes_world import Look, parse_figure

RIGHT = {"overlap": 0.9, "shape": True, "color": True, "pattern": True}
WRONG = {**RIGHT, "pattern": False}


def test_a_rate_by_word_counts_the_things_with_that_word():
    looks = {
        4: (Look("star", "red", "checked"), Look("star", "blue", "plain")),
        7: (Look("circle", "red", "checked"),),
    }
    records = [{"number": 4, "instances": [WRONG, RIGHT]}, {"number": 7, "instances": [RIGHT]}]
    written = by_word({"plain": records}, METHODS, ("checked", "star", "blue"), looks, success_rate)
    assert written.splitlines()[0] == "| method | checked | star | blue |"
    assert written.splitlines()[-1] == "| no control | 50.0 | 50.0 | 100.0 |"


def test_looks_are_those_of_the_layout():
    plan = Plan()
    for number in range(4):
        captions = [instance.caption for instance in plan.sample(number).layout.active]
        assert list(plan.looks(number)) == [parse_figure(caption).look for caption in captions]
