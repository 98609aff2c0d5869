"""Transforms: pure, masks follow, what leaves is dropped."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import fewer, layouts, polygons

from instance_composer.layout import (
    Box,
    Canvas,
    Instance,
    Layout,
    LayoutError,
    Mask,
    Polygon,
    RunLength,
)
from instance_composer.layout.transform import (
    combine,
    crop,
    mirror_horizontally,
    mirror_vertically,
    move,
    resize_canvas,
    scale,
    scale_and_move,
)

CAT = Instance("cat", Box(0.1, 0.2, 0.5, 0.6), "a red cat")
DOG = Instance("dog", Box(0.4, 0.4, 0.9, 0.9), "a blue dog")
PAIR = Layout((CAT, DOG), Canvas(200, 100), "a pair")
TRIANGLE = Polygon(((0.1, 0.2), (0.5, 0.2), (0.1, 0.6)))


def box_of(layout: Layout, index: int = 0) -> tuple[float, ...]:
    return tuple(round(value, 9) for value in layout.instances[index].box)


def close(one: Layout, other: Layout) -> bool:
    """The same but for rounding in boxes and polygons."""
    pairs = list(zip(one.instances, other.instances, strict=True))
    stripped = [replace(item, box=CAT.box, mask=None) for pair in pairs for item in pair]
    numbers = [(_numbers(first), _numbers(second)) for first, second in pairs]
    return stripped[::2] == stripped[1::2] and all(
        len(first) == len(second) and all(map(_near, first, second)) for first, second in numbers
    )


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, abs_tol=1e-9)


def _numbers(item: Instance) -> list[float]:
    mask = item.mask
    points = [value for point in mask.points for value in point] if isinstance(mask, Polygon) else []
    return [*item.box, *points, *(mask.counts if isinstance(mask, RunLength) else ())]


@fewer
@given(st.sampled_from([mirror_horizontally, mirror_vertically]), layouts())
def test_mirroring_twice_changes_nothing(mirror: Callable[[Layout], Layout], layout: Layout) -> None:
    assert close(mirror(mirror(layout)), layout)


def test_mirroring_exchanges_sides() -> None:
    layout = Layout((replace(CAT, mask=TRIANGLE),))
    assert box_of(mirror_horizontally(layout)) == (0.5, 0.2, 0.9, 0.6)
    assert box_of(mirror_vertically(layout)) == (0.1, 0.4, 0.5, 0.8)
    for mirror, flip in ((mirror_horizontally, lambda row: row[::-1]), (mirror_vertically, lambda row: row)):
        before, after = (item.instances[0].mask.raster(9, 9) for item in (layout, mirror(layout)))
        lines = [before[start : start + 9] for start in range(0, 81, 9)]
        order = lines if mirror is mirror_horizontally else lines[::-1]
        assert b"".join(map(flip, order)) == after


@given(polygons, st.integers(0, 6), st.integers(0, 6), st.integers(1, 8), st.integers(1, 8))
@pytest.mark.parametrize("kind", ["polygon", "run-length"])
def test_a_cropped_mask_is_the_crop_of_its_raster(
    kind: str, polygon: Polygon, left: int, top: int, width: int, height: int
) -> None:
    """Crops on a grid of 8, masks seen on the grid of 16 that halves it."""
    right, bottom = min(8, left + width), min(8, top + height)
    raster = polygon.raster(16, 16)
    mask: Mask = polygon if kind == "polygon" else RunLength.from_raster(raster, 16, 16)
    expected = b"".join(
        raster[16 * row + 2 * left : 16 * row + 2 * right] for row in range(2 * top, 2 * bottom)
    )
    item = replace(CAT, mask=mask, box=Box(0.0, 0.0, 1.0, 1.0))
    if mask.is_empty:
        return
    cropped = crop(Layout((item,), Canvas(800, 800)), Box(left / 8, top / 8, right / 8, bottom / 8))
    if not cropped.instances:
        assert not any(expected)
        return
    found = cropped.instances[0].mask.raster(2 * (right - left), 2 * (bottom - top))
    # Rounding may move a centre that lies on an edge to its other side.
    assert sum(one != other for one, other in zip(found, expected, strict=True)) <= 2 * len(polygon.points)
    if kind == "run-length":
        assert found == expected


def test_a_crop_drops_clips_and_resizes() -> None:
    cropped = crop(PAIR, Box(0.5, 0.5, 1.0, 1.0))
    assert [item.id for item in cropped.instances] == ["dog"]
    assert box_of(cropped) == (0.0, 0.0, 0.8, 0.8)
    assert (cropped.canvas.width, cropped.canvas.height) == (100, 50)
    assert cropped.prompt == "a pair"


def test_an_instance_whose_mask_leaves_is_dropped_though_its_box_stays() -> None:
    layout = Layout((replace(CAT, mask=TRIANGLE, box=Box(0.0, 0.0, 1.0, 1.0)),))
    assert crop(layout, Box(0.0, 0.0, 0.3, 0.5)).instances
    assert not crop(layout, Box(0.6, 0.6, 1.0, 1.0)).instances


@pytest.mark.parametrize(
    "box", [Box(0.5, 0, 0.5, 1), Box(0.6, 0, 0.5, 1), Box(-0.1, 0, 1, 1), Box(0, 0, math.nan, 1)]
)
def test_a_crop_off_the_canvas_is_refused(box: Box) -> None:
    with pytest.raises(LayoutError, match="must lie on the canvas"):
        crop(PAIR, box)


def test_a_crop_to_a_canvas_below_16_pixels_is_refused() -> None:
    with pytest.raises(LayoutError, match="20 × 10 pixels; 16 to 16384"):
        crop(PAIR, Box(0.0, 0.0, 0.1, 0.1))


def test_moving_keeps_sizes_and_drops_what_leaves() -> None:
    assert box_of(move(PAIR, 0.1, -0.1)) == (0.2, 0.1, 0.6, 0.5)
    assert box_of(move(PAIR, -0.2, 0.0)) == (0.0, 0.2, 0.3, 0.6)
    assert [item.id for item in move(PAIR, -0.5, 0.0).instances] == ["dog"]
    with pytest.raises(LayoutError, match="a move of -1 to 1"):
        move(PAIR, math.nan, 0.0)


@fewer
@given(layouts(), st.floats(0.2, 1.0), st.floats(0.2, 1.0))
def test_shrinking_is_undone_by_growing(layout: Layout, across: float, down: float) -> None:
    boxes = Layout(tuple(replace(item, mask=None) for item in layout.instances))
    assert close(scale(scale(boxes, across, down), 1 / across, 1 / down), boxes)


def test_scaling_leaves_its_centre() -> None:
    assert box_of(scale(PAIR, 0.5, center=(0.1, 0.2))) == (0.1, 0.2, 0.3, 0.4)
    assert box_of(scale(PAIR, 2.0, 1.0, center=(0.1, 0.0))) == (0.1, 0.2, 0.9, 0.6)
    for factor in (0.0, -1.0, 1000.0, math.nan):
        with pytest.raises(LayoutError, match="a scale of"):
            scale(PAIR, factor)


def test_another_canvas_keeps_fractions_or_pixels() -> None:
    assert resize_canvas(PAIR, 400, 400).instances == PAIR.instances
    assert box_of(resize_canvas(PAIR, 400, 400, keep_pixels=True)) == (0.05, 0.05, 0.25, 0.15)
    with pytest.raises(LayoutError, match="0 × 400"):
        resize_canvas(PAIR, 0, 400)


def test_combined_layouts_keep_every_instance_under_an_id_of_its_own() -> None:
    taken = Layout((replace(CAT, id="cat-2"), CAT, DOG), Canvas(64, 64), "a pair", "blurry")
    both = combine(PAIR, taken)
    assert [item.id for item in both.instances] == ["cat", "dog", "cat-2", "cat-3", "dog-2"]
    assert both.canvas == PAIR.canvas
    assert (both.prompt, both.negative) == ("a pair", "blurry")
    assert combine(PAIR, replace(PAIR, prompt="at night")).prompt == "a pair, at night"


@fewer
@given(layouts(), layouts())
def test_combining_loses_nothing(one: Layout, other: Layout) -> None:
    both = combine(one, other).checked()
    items = (*one.instances, *other.instances)
    assert tuple(replace(item, id="") for item in both.instances) == tuple(
        replace(item, id="") for item in items
    )


def test_layouts_with_errors_are_refused() -> None:
    broken = Layout((replace(CAT, box=Box(0.5, 0.2, 0.1, 0.6)),))
    for change in (mirror_horizontally, combine, lambda layout: move(layout, 0.1, 0.1)):
        with pytest.raises(LayoutError, match=r'"cat".*inverted'):
            change(broken)
    with pytest.raises(LayoutError, match="nothing to combine"):
        combine()


@pytest.mark.parametrize("factor", [0.05, 0.01])
def test_a_mask_made_far_smaller_keeps_its_area_and_takes_little_memory(factor: float) -> None:
    """Of a thing of a few pixels, what is around it would be 16384 × 16384 bytes."""
    raster = bytearray(512 * 512)
    for row in range(150, 350):
        raster[512 * row + 100 : 512 * row + 400] = b"\1" * 300
    mask = RunLength.from_raster(bytes(raster), 512, 512)
    layout = Layout((replace(CAT, mask=mask, box=mask.bounds),))
    tracemalloc.start()
    try:
        small = scale(layout, factor)
        mirrored = mirror_horizontally(small)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 32 * 2**20
    for changed in (small, mirrored):
        (item,) = changed.instances
        assert isinstance(item.mask, RunLength)
        assert item.mask.fault is None
        height, width = item.mask.size
        assert max(height, width) <= 16384
        area = sum(item.mask.counts[1::2]) / (height * width)
        assert area == pytest.approx(factor**2 * 200 * 300 / 512**2, rel=0.02)


@fewer
@given(layouts(), st.floats(0.2, 5), st.floats(-1, 1), st.floats(-1, 1))
def test_scale_and_move_together_are_one_window(
    layout: Layout, factor: float, right: float, down: float
) -> None:
    """Boxes of a canvas wide enough around them are cut by neither step, and tell where they belong."""
    made = {item.id: item for item in scale_and_move(layout, factor, right, down).instances}
    for item in layout.instances:
        if item.mask is not None:
            continue
        x0, y0, x1, y1 = (
            (value - 0.5) * factor + 0.5 + way
            for value, way in zip(item.box, (right, down, right, down), strict=True)
        )
        place = Box(x0, y0, x1, y1).clipped()
        if place is None or min(place.width, place.height) < 1e-9:
            continue
        assert list(made[item.id].box) == pytest.approx(list(place), abs=1e-9)


def test_what_the_scale_takes_off_the_canvas_the_move_brings_back() -> None:
    near, far = replace(CAT, box=Box(0.7, 0.4, 0.9, 0.6)), replace(DOG, box=Box(0.8, 0.4, 0.95, 0.6))
    mask = Polygon(((0.7, 0.4), (0.9, 0.4), (0.9, 0.6)))
    made = scale_and_move(Layout((near, replace(near, id="masked", mask=mask), far)), 2.0, -0.3, 0.0)
    assert list(made.instances[0].box) == pytest.approx([0.6, 0.3, 1.0, 0.7])
    assert isinstance(made.instances[1].mask, Polygon)
    assert list(made.instances[1].mask.bounds) == pytest.approx([0.6, 0.3, 1.0, 0.7])
    assert list(made.instances[2].box) == pytest.approx([0.8, 0.3, 1.0, 0.7])


def test_a_cut_outline_of_too_many_points_stays_usable() -> None:
    count = 2400
    spikes = [point for n in range(count) for point in ((n / count, 0.5), ((n + 0.5) / count, 1.0))]
    grass = replace(CAT, box=Box(0.0, 0.5, 1.0, 1.0), mask=Polygon((*spikes, (1.0, 0.5))))
    (item,) = move(Layout((grass,)).checked(), 0.0, 0.2).checked().instances
    assert item.mask is not None
    # Spikes of half the height hang from 0.7; two fifths of each, its point, are cut off.
    share = sum(item.mask.raster(1000, 1000)) / 1000**2
    assert share == pytest.approx(0.5 * 0.5 - 0.5 * 0.2 * 0.4, abs=0.02)
