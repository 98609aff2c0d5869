"""Tables of evaluations, and scenes under their numbers."""

from __future__ import annotations

from instance_composer.evaluation.benchmark import Point
from instance_composer.evaluation.benchmarks.placement.report import success_by_word
from instance_composer.evaluation.rows import rate_of_all
from instance_composer.evaluation.scenes import Scenes
from instance_composer.evaluation.statistics import success_rate
from instance_composer.shapes_world import Look, parse_figure

RIGHT = {"overlap": 0.9, "shape": True, "color": True, "pattern": True}
WRONG = {**RIGHT, "pattern": False}


def test_a_rate_by_word_counts_the_things_with_that_word():
    looks = {
        4: (Look("star", "red", "checked"), Look("star", "blue", "plain")),
        7: (Look("circle", "red", "checked"),),
    }
    records = [{"number": 4, "instances": [WRONG, RIGHT]}, {"number": 7, "instances": [RIGHT]}]
    written = success_by_word({Point("plain"): records}, looks, ("checked", "star", "blue"))
    assert written.splitlines()[0] == "| method | checked | star | blue |"
    assert written.splitlines()[-1] == "| no control | 50.0 | 50.0 | 100.0 |"


def test_a_rate_of_nothing_is_a_dash():
    assert rate_of_all([{"instances": []}], success_rate) == "–"
    assert rate_of_all([{"instances": [RIGHT, WRONG, WRONG]}], success_rate) == "33.3"


def test_looks_are_those_of_the_layout():
    scenes = Scenes()
    for number in range(4):
        captions = [instance.caption for instance in scenes.sample(number).layout.active]
        assert list(scenes.looks(number)) == [parse_figure(caption).look for caption in captions]
