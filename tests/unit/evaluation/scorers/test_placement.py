"""Plans and scores: what is compared, and what the judge's reading of a picture counts as."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from instance_composer.evaluation.benchmark import PlanError, Point, check_methods
from instance_composer.evaluation.benchmarks.placement.plan import PlacementPlan
from instance_composer.evaluation.scorers.placement import score
from instance_composer.generation.placing_methods import METHODS, TRAINING_FREE
from instance_composer.layout import Box
from instance_composer.shapes_world import HELD_OUT, parse

PLAN = PlacementPlan()
SCENES = PLAN.scenes


def right(instance):
    return instance["shape"] and instance["color"] and instance["pattern"]


def test_a_real_picture_is_right_in_everything():
    for number in range(4):
        sample = SCENES.sample(number)
        scored = score(sample.image, sample.layout)
        assert all(instance["overlap"] > 0.9 and right(instance) for instance in scored["instances"])
        assert len(scored["detections"]) == len(scored["instances"]) == SCENES.figures[number]


def test_another_caption_or_place_is_wrong():
    sample = SCENES.sample(0)
    first, second = sample.layout.instances
    exchanged = (replace(first, caption=second.caption), replace(second, caption=first.caption))
    scored = score(sample.image, replace(sample.layout, instances=exchanged))
    assert all(one["overlap"] > 0.9 and not right(one) for one in scored["instances"])
    away = replace(first, box=Box(0.0, 0.0, 0.02, 0.02))
    scored = score(sample.image, replace(sample.layout, instances=(away, second)))
    assert scored["instances"][0]["overlap"] < 0.1
    assert right(scored["instances"][1])


def test_an_empty_picture_has_nothing():
    layout = SCENES.sample(0).layout
    scored = score(np.full((128, 128, 3), 204, dtype=np.uint8), layout)
    assert scored["detections"] == []
    assert [one["overlap"] for one in scored["instances"]] == [0, 0]


def test_scenes_take_their_numbers_of_things_in_turn_and_show_held_out_looks():
    samples = [SCENES.sample(number) for number in range(8)]
    assert [len(sample.layout.active) for sample in samples] == [2, 3, 4, 5, 2, 3, 4, 5]
    assert all(figure.look in HELD_OUT for sample in samples for figure in sample.scene.figures)
    references = [SCENES.reference(number) for number in range(8)]
    assert all(a.layout != b.layout for a, b in zip(samples, references, strict=True))


def test_a_job_holds_whole_sentences_and_a_noise_of_its_own():
    one, other = (PLAN.job(Point("area"), number) for number in (3, 4))
    assert [parse(sentence)[0][0] for sentence in one.options["sentences"]]
    assert len(one.options["sentences"]) == 5
    assert one.sampling.seed != other.sampling.seed


def test_methods_are_known_and_in_the_order_of_the_tables():
    assert check_methods(["ifadapter", "real"], METHODS) == ("real", "ifadapter")
    assert TRAINING_FREE == ("area", "mask", "couple", "regions", "isolated-regions", "strong-regions")
    with pytest.raises(PlanError, match="no method gligen; choose from real, reconstructed"):
        check_methods(["gligen"], METHODS)
