"""Placement by what the prompt names: the same layouts, the thing in question in a column of its own."""

from __future__ import annotations

import pytest

from instance_composer.cli import main
from instance_composer.evaluation.benchmark import Point
from instance_composer.evaluation.benchmarks.placement.naming import SETTING
from instance_composer.evaluation.benchmarks.placement.plan import PlacementPlan
from instance_composer.evaluation.benchmarks.placement.report import naming_table
from instance_composer.models.entities.naming import find_unnamed
from instance_composer.shapes_world import parse

PLAN = PlacementPlan(("real", "ifadapter"), 8, naming=("all", "all-but-one", "none", "joined"))
ALL, BUT_ONE, NONE, JOINED = (
    Point("ifadapter", ((SETTING, value),) if value else ()) for value in (0.0, 1.0, 2.0, 3.0)
)


def test_real_pictures_have_no_prompt_and_the_methods_own_points_come_first():
    assert list(PLAN.points()) == [Point("real"), ALL, BUT_ONE, NONE, JOINED]
    assert list(PlacementPlan(("ifadapter",)).points()) == [ALL]
    assert PLAN.identity() == PlacementPlan(("real",)).identity(), "folders of earlier runs go on"


def test_the_layout_stays_and_one_caption_goes():
    places = set()
    for number in range(8):
        jobs = {point: PLAN.job(point, number) for point in (ALL, BUT_ONE, NONE, JOINED)}
        instances = jobs[ALL].layout.instances
        assert all(job.layout.instances == instances for job in jobs.values())
        assert len({job.sampling.seed for job in jobs.values()}) == 1
        place = PLAN.left_out(number)
        places.add(place)
        (missing,) = find_unnamed(jobs[BUT_ONE].layout)
        assert missing == instances[place]
        things, background = parse(jobs[BUT_ONE].layout.prompt)
        assert len(things) == len(instances) - 1
        assert jobs[NONE].layout.prompt == f"on {background}"
        assert jobs[JOINED].layout.prompt == f"{jobs[BUT_ONE].layout.prompt}, {missing.caption}"
    assert len(places) > 1


def test_the_thing_in_question_has_a_column_of_its_own():
    def records(right: int):
        """Three pictures of two things: all first ones right, of the second ones so many."""
        good = {"overlap": 0.9, "shape": True, "color": True, "pattern": True}
        return [
            {"number": number, "instances": [good, {**good, "color": number < right}]} for number in range(3)
        ]

    groups = {ALL: records(3), BUT_ONE: records(0), Point("real"): records(3)}
    lines = naming_table(groups, lambda number: 1).splitlines()[-2:]
    cells = [[cell.strip().partition(" ")[0] for cell in line.split("|")[3:6]] for line in lines]
    assert cells == [["100.0", "100.0", "100.0"], ["50.0", "0.0", "100.0"]]
    assert naming_table({ALL: records(3)}, lambda number: 1) == ""


def test_an_unknown_naming_is_refused_by_name(tmp_path, capsys):
    assert main(["evaluate", "layout", str(tmp_path), "--naming", "all,some"]) != 0
    assert (
        "--naming: some is not known; choose from all, all-but-one, none, joined" in capsys.readouterr().err
    )


@pytest.mark.parametrize("given", ["joined,all-but-one", "all-but-one, joined"])
def test_namings_come_in_the_order_of_the_tables(given):
    from instance_composer.cli.evaluate.layout import _naming

    assert _naming(given) == ("all-but-one", "joined")
