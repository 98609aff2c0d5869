"""Rates, average precision and distances: known cases, and equal to the slow way of computing them."""

from __future__ import annotations

import numpy as np
import pytest

from instance_composer.evaluation.statistics import (
    attribute_rate,
    average_precision,
    interval,
    kernel_distance,
    located_rate,
    resamplings,
    success_rate,
)

ONCE = np.ones((1, 1))


def instance(overlap, shape=True, color=True, pattern=True):
    return {"overlap": overlap, "shape": shape, "color": color, "pattern": pattern}


def picture(instances=(), detections=()):
    found = [{"score": score, "overlaps": list(overlaps)} for score, overlaps in detections]
    return {"instances": list(instances), "detections": found}


def test_success_needs_place_and_every_attribute():
    one = picture(
        [
            instance(0.9),
            instance(0.5),
            instance(0.49),
            instance(0.9, color=False),
            instance(0.9, pattern=False),
        ]
    )
    assert success_rate([one], ONCE) == pytest.approx([2 / 5])
    assert located_rate([one], ONCE) == pytest.approx([4 / 5])
    assert attribute_rate([one], ONCE) == pytest.approx([2 / 4])
    assert attribute_rate([one], ONCE, "color") == pytest.approx([3 / 4])


def test_attributes_of_nothing_are_no_number():
    assert np.isnan(attribute_rate([picture([instance(0.0)])], ONCE))


def test_average_precision_of_known_rankings():
    perfect = picture([instance(1), instance(1)], [(0.9, (1.0, 0.0)), (0.8, (0.0, 1.0))])
    assert average_precision([perfect], ONCE) == pytest.approx([1.0])
    # Half of the things: precision 1 up to recall 0.5, which is 51 of the 101 points.
    half = picture([instance(1), instance(0)], [(0.9, (1.0, 0.0))])
    assert average_precision([half], ONCE) == pytest.approx([51 / 101])
    # Right, wrong, right: precision 1 up to recall 0.5 and 2/3 up to 1 at the first three overlaps, the first
    # alone at the next four, nothing at the last three.
    mixed = picture(
        [instance(0.81), instance(0.62)], [(0.7, (0.0, 0.62)), (0.9, (0.81, 0.1)), (0.8, (0.3, 0.1))]
    )
    expected = (3 * (51 + 50 * 2 / 3) / 101 + 4 * 51 / 101) / 10
    assert average_precision([mixed], ONCE) == pytest.approx([expected])
    assert average_precision([picture([instance(0)])], ONCE) == pytest.approx([0.0])


def test_a_thing_serves_one_instance_and_an_instance_one_thing():
    twice = picture([instance(1)], [(0.9, (0.9,)), (0.8, (0.9,))])
    # The better ranked one counts, the other is a mistake after full recall.
    assert average_precision([twice], ONCE) == pytest.approx([9 / 10])


def test_a_weight_of_two_is_the_same_picture_twice():
    random = np.random.default_rng(3)
    scores = []
    for _ in range(6):
        found = [(float(random.random()), tuple(random.random(2))) for _ in range(3)]
        places = [instance(float(random.random()), *(random.random(3) < 0.7)) for _ in range(2)]
        scores.append(picture(places, found))
    weights = np.array([[2.0, 0, 1, 1, 0, 3]])
    drawn = [scores[0]] * 2 + [scores[2], scores[3]] + [scores[5]] * 3
    all_once = np.ones((1, len(drawn)))
    for rate in (success_rate, located_rate, attribute_rate, average_precision):
        assert rate(scores, weights) == pytest.approx(rate(drawn, all_once)), rate.__name__


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        scores = [picture([instance(float(random.random() < 0.3))]) for _ in range(100)]
        value, low, high = interval(success_rate(scores, resamplings(100, 300)))
        covered += low <= 0.3 <= high
        assert low <= value <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_resamplings_begin_with_the_sample_itself_and_keep_its_size():
    weights = resamplings(7, 50)
    assert weights.shape == (51, 7)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(weights, resamplings(7, 50))


def test_kernel_distance_is_none_for_the_same_kind_and_grows_with_the_difference():
    random = np.random.default_rng(7)
    reference, same = random.normal(size=(2, 150, 8))
    value, low, high = kernel_distance(same, reference)
    assert low < 0 < high
    distances = [kernel_distance(same + shift, reference).value for shift in (0.5, 1.0)]
    assert value < distances[0] < distances[1]
    assert kernel_distance(same * 0.3, reference).low > 0


def test_the_interval_of_the_distance_is_that_of_leaving_pictures_out():
    random = np.random.default_rng(11)
    reference, pictures = random.normal(size=(40, 3)), random.normal(size=(25, 3)) + 0.3
    value, low, _ = kernel_distance(pictures, reference)
    left = [kernel_distance(np.delete(pictures, n, axis=0), reference).value for n in range(25)]
    deviation = np.sqrt(24 / 25 * ((np.array(left) - np.mean(left)) ** 2).sum())
    assert value - low == pytest.approx(1.96 * deviation)
