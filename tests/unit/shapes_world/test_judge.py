"""The judge, on fresh pictures whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from instance_composer.layout import Box
from instance_composer.shapes_world import ShapesWorld
from instance_composer.shapes_world.judge import (
    UNKNOWN,
    Reading,
    box_overlap,
    match,
    read_things,
)

# Pictures of this seed were not looked at when the judge's thresholds were set.
FRESH = 990_001


def accuracy(world: ShapesWorld, pictures: int, change=lambda image: image) -> dict[str, float]:
    """Shares of things found (overlap of boxes at least a half), and of those read right."""
    counts = dict.fromkeys(("things", "found", "shape", "color", "pattern"), 0)
    for sample in (world[number] for number in range(pictures)):
        matches = match(read_things(change(sample.image)), [i.box for i in sample.layout.instances])
        for figure, (reading, overlap) in zip(sample.scene.figures, matches, strict=True):
            counts["things"] += 1
            if reading is None or overlap < 0.5:
                continue
            counts["found"] += 1
            for name in ("shape", "color", "pattern"):
                counts[name] += getattr(reading, name) == getattr(figure.look, name)
    return {name: count / counts["things"] for name, count in counts.items()}


def blurred(image: np.ndarray) -> np.ndarray:
    """About what a small autoencoder does to a picture."""
    soft = ndimage.gaussian_filter(image.astype(np.float32), (1.0, 1.0, 0))
    noise = np.random.default_rng(0).normal(0, 5, image.shape)
    return np.clip(soft + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "change", "least"),
    [
        (128, 128, None, 0.98),
        (256, 256, None, 0.98),
        (224, 128, None, 0.98),
        (128, 128, blurred, 0.95),
    ],
)
def test_accuracy_on_fresh_pictures(width, height, change, least):
    world = ShapesWorld(FRESH, width, height, "all")
    scores = accuracy(world, 60, change or (lambda image: image))
    assert min(scores[name] for name in ("found", "shape", "color", "pattern")) >= least, scores


def test_nothing_is_found_that_is_not_there():
    for number in range(40):
        sample = ShapesWorld(FRESH, split="all")[number]
        assert len(read_things(sample.image)) == len(sample.scene.figures)


def test_an_empty_picture_has_nothing_in_it():
    assert read_things(np.full((128, 128, 3), 220, np.uint8)) == []


def test_boxes_and_masks_are_nearly_exact():
    for number in range(20):
        sample = ShapesWorld(FRESH)[number]
        matches = match(read_things(sample.image), [i.box for i in sample.layout.instances])
        for (reading, overlap), mask in zip(matches, sample.masks, strict=True):
            assert reading is not None
            assert overlap > 0.9
            assert (reading.mask & mask).sum() / (reading.mask | mask).sum() > 0.9


def test_what_resembles_nothing_is_unknown():
    """A ragged blob in a colour of the world: found, coloured, but no shape."""
    rng = np.random.default_rng(3)
    image = np.full((128, 128, 3), 230, np.uint8)
    angles = np.arctan2(*np.mgrid[-64:64, -64:64])
    radius = np.hypot(*np.mgrid[-64:64, -64:64])
    edge = 26 + 16 * np.sin(3 * angles + rng.random()) * np.sin(7 * angles)
    image[radius < edge] = (214, 36, 36)
    (reading,) = read_things(image)
    assert (reading.shape, reading.color) == (UNKNOWN, "red")


def test_touching_figures_of_different_colour_are_two():
    image = np.full((128, 128, 3), 230, np.uint8)
    image[40:80, 20:60] = (214, 36, 36)
    image[40:80, 60:100] = (36, 76, 216)
    found = {(r.shape, r.color) for r in read_things(image)}
    assert found == {("square", "red"), ("square", "blue")}


def reading(*box: float) -> Reading:
    return Reading(Box(*box), "circle", "red", "plain", 1.0, np.ones((1, 1), bool))


def test_a_reading_serves_one_box():
    matches = match([reading(0, 0, 0.5, 0.5)], [Box(0, 0, 0.5, 0.4), Box(0, 0, 0.5, 0.5)])
    assert matches[0] == (None, 0.0)
    assert matches[1][1] == 1.0


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 1, 1), (0, 0, 1, 1), 1.0),
        ((0, 0, 1, 1), (0.5, 0, 1.5, 1), 1 / 3),
        ((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1), 0.0),
        ((0, 0, 0.2, 0.2), (0.6, 0.6, 1, 1), 0.0),
    ],
)
def test_overlap_of_boxes(a, b, expected):
    assert box_overlap(Box(*a), Box(*b)) == pytest.approx(expected)
