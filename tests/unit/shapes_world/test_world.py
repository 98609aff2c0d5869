"""Shapes World: what it paints is what it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from instance_composer.shapes_world import (
    COLORS,
    HELD_OUT,
    LOOKS,
    PATTERNS,
    SHAPES,
    CaptionError,
    ShapesWorld,
    looks,
    make_sample,
    mask_box,
    parse,
    parse_figure,
)
from instance_composer.shapes_world.vocabulary import HELD_OUT_SHARE

SIZES = [(128, 128), (256, 256), (192, 128), (128, 224)]


def test_a_picture_depends_on_seed_and_number_alone():
    first = [ShapesWorld(seed=5)[number] for number in range(4)]
    again = [ShapesWorld(seed=5)[number] for number in reversed(range(4))][::-1]
    other = ShapesWorld(seed=6)[0]
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.image, two.image)
        assert one.layout == two.layout
    assert not np.array_equal(first[0].image, other.image)
    assert not np.array_equal(first[0].image, first[1].image)


def test_the_world_stays_as_published():
    """Another renderer, or another order of random draws, would silently change every result."""
    sample = ShapesWorld(seed=0)[0]
    assert sample.layout.prompt == PUBLISHED_CAPTION
    assert abs(float(sample.image.mean()) - PUBLISHED_MEAN) < 0.05


PUBLISHED_CAPTION = "a yellow circle, a cyan striped circle and a red checked triangle on lavender"
PUBLISHED_MEAN = 204.57


def test_the_splits_share_no_combination_and_cover_all():
    train, held_out = set(looks("train")), set(looks("held-out"))
    assert train.isdisjoint(held_out)
    assert train | held_out == set(LOOKS)
    assert len(held_out) == round(HELD_OUT_SHARE * len(SHAPES) * len(COLORS) * len(PATTERNS))


def test_training_knows_every_pair_of_words():
    """Only the triples are new in the held-out split, so what it tests is composition."""
    known = {pair for look in looks("train") for pair in itertools.combinations(look, 2)}
    assert {pair for look in LOOKS for pair in itertools.combinations(look, 2)} == known


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_pictures_of_a_split_show_only_its_combinations(split):
    shown = {f.look for number in range(60) for f in ShapesWorld(split=split).scene(number).figures}
    assert all((look in HELD_OUT) == (split == "held-out") for look in shown)


@pytest.mark.parametrize("split", ["train", "held-out", "all"])
def test_a_world_of_one_pattern_shows_all_its_looks_and_no_other(split):
    world = ShapesWorld(split=split, pattern="checked")
    shown = {f.look for number in range(200) for f in world.scene(number).figures}
    assert shown == {look for look in looks(split) if look.pattern == "checked"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"split": "test"}, 'choose "train", "held-out" or "all"'),
        ({"pattern": "tartan"}, "choose plain, striped, dotted, checked"),
    ],
)
def test_what_the_vocabulary_does_not_know_is_refused(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        ShapesWorld(**settings).scene(0)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("overlap", [0.0, 0.25])
def test_boxes_bound_the_masks_and_masks_do_not_overlap(width, height, overlap):
    world = ShapesWorld(3, width, height, overlap=overlap)
    for sample in (world[number] for number in range(12)):
        assert sample.image.shape == (height, width, 3)
        assert sample.masks.sum(axis=0).max() == 1
        for instance, mask in zip(sample.layout.instances, sample.masks, strict=True):
            x0, y0, x1, y1 = (round(v * s) for v, s in zip(instance.box, (width, height) * 2, strict=True))
            assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0
            edges = mask[y0, :], mask[y1 - 1, :], mask[:, x0], mask[:, x1 - 1]
            assert all(edge.any() for edge in edges)


def test_masks_cover_what_was_painted():
    """Inside every mask the figure's hue, outside all masks the background."""
    for sample in (ShapesWorld(1)[number] for number in range(20)):
        away = np.abs(sample.image - np.array(sample.scene.background_rgb)).max(axis=-1)
        covered = sample.masks.any(axis=0)
        assert away[covered].min() > 25
        # Antialiased edges may stand out by half the difference, never the open background.
        assert (away[~covered] <= 1).mean() > 0.9
        for figure, mask in zip(sample.scene.figures, sample.masks, strict=True):
            inside = sample.image[mask].astype(float)
            hue = np.array(figure.rgb) / max(figure.rgb)
            assert np.abs(np.median(inside / inside.max(axis=-1, keepdims=True), axis=0) - hue).max() < 0.06


def test_edges_are_antialiased():
    sample = ShapesWorld(1, figures=1)[0]
    mask, figure = sample.masks[0], sample.scene.figures[0]
    assert figure.look.pattern == "plain" or len(np.unique(sample.image[mask], axis=0)) > 4
    border = mask ^ np.roll(mask, 1, axis=1)
    assert len(np.unique(sample.image[border], axis=0)) > 8


def test_without_overlap_figures_keep_apart():
    for number in range(20):
        boxes = [i.box for i in ShapesWorld(2)[number].layout.instances]
        for a, b in itertools.combinations(boxes, 2):
            assert min(a.x1, b.x1) <= max(a.x0, b.x0) or min(a.y1, b.y1) <= max(a.y0, b.y0)


def test_overlap_happens_and_stays_below_its_limit():
    world = ShapesWorld(2, figures=4, overlap=0.3)
    shares = []
    for scene in (world.scene(number) for number in range(30)):
        for a, b in itertools.combinations(scene.figures, 2):
            reach = (a.diameter + b.diameter) / 2
            smaller = min(a.diameter, b.diameter)
            sides = [
                min(max(reach - abs(p - q), 0), smaller) for p, q in zip(a.center, b.center, strict=True)
            ]
            shares.append(sides[0] * sides[1] / smaller**2)
    assert 0.05 < max(shares) <= 0.3


@pytest.mark.parametrize("figures", [6, 7, 8])
def test_more_figures_than_in_training_fit(figures):
    sample = ShapesWorld(4, 256, 256, "held-out", figures)[0]
    assert len(sample.layout.instances) == figures
    assert sample.layout.checked() is sample.layout


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"figures": 9}, "1 to 8"), ({"width": 32}, "at least 64"), ({"overlap": 1.5}, "0 up to 1")],
)
def test_impossible_worlds_are_refused(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        ShapesWorld(**settings).scene(0)


def test_captions_parse_back():
    world = ShapesWorld(9, split="all")
    for sample in (world[number] for number in range(60)):
        phrases, background = parse(sample.layout.prompt)
        assert background == sample.scene.background
        assert [p.look for p in phrases] == [f.look for f in sample.scene.figures]
        assert [p.size for p in phrases] == [f.size for f in sample.scene.figures]
        assert [parse_figure(i.caption) for i in sample.layout.instances] == list(phrases)


@pytest.mark.parametrize(
    "text",
    ["a red circle", "a red circle on tartan", "a circle red on grey", "red circle on grey", " on grey"],
)
def test_what_is_no_caption_is_refused(text):
    with pytest.raises(CaptionError):
        parse(text)


def test_sizes_are_named_only_where_true():
    world = ShapesWorld(11)
    sizes = [(f.size, f.diameter / 128) for n in range(150) for f in world.scene(n).figures]
    assert {word for word, _ in sizes} == {"", "small", "large"}
    assert max(d for word, d in sizes if word == "small") < min(d for word, d in sizes if word == "large")


def test_a_layout_can_carry_the_exact_masks():
    scene = ShapesWorld(3, overlap=0.3).scene(1)
    sample = make_sample(scene, with_masks=True)
    for instance, mask in zip(sample.layout.instances, sample.masks, strict=True):
        assert instance.mask is not None
        assert (
            np.frombuffer(instance.mask.raster(128, 128), np.uint8).reshape(128, 128).tolist()
            == mask.tolist()
        )
        assert list(instance.mask.bounds) == pytest.approx(list(mask_box(mask)))
