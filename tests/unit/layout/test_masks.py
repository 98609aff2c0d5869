"""Masks: what is inside, round trips, resampling."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import polygons, rasters

from instance_composer.layout import Box, Polygon, RunLength

SQUARE = Polygon(((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)))


def rows(raster: bytes, width: int) -> list[list[int]]:
    return [list(raster[start : start + width]) for start in range(0, len(raster), width)]


def inside(points: tuple[tuple[float, float], ...], x: float, y: float) -> bool:
    """Even-odd by the parity of the winding number, which shares nothing with scan lines."""
    turns = 0.0
    for (xa, ya), (xb, yb) in zip(points, (*points[1:], points[0]), strict=True):
        turn = math.atan2(yb - y, xb - x) - math.atan2(ya - y, xa - x)
        turns += math.remainder(turn, math.tau)
    return round(turns / math.tau) % 2 == 1


def test_a_pixel_is_set_where_its_centre_is_inside() -> None:
    assert rows(SQUARE.raster(4, 4), 4) == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert rows(SQUARE.raster(2, 2), 2) == [[1, 0], [0, 0]]  # every centre is on an edge
    assert rows(SQUARE.raster(1, 3), 1) == [[0], [1], [0]]


def test_the_hole_of_a_crossing_outline_is_outside() -> None:
    turn = [math.pi * (0.5 + 0.8 * corner) for corner in range(5)]
    star = Polygon(tuple((0.5 + 0.5 * math.cos(angle), 0.5 - 0.5 * math.sin(angle)) for angle in turn))
    assert star.raster(9, 9)[9 * 4 + 4] == 0
    assert star.raster(9, 9)[9 * 1 + 4] == 1


@given(st.integers(0, 2**32))
def test_rasters_agree_with_winding_numbers(seed: int) -> None:
    numbers = random.Random(seed)
    points = tuple(
        (numbers.uniform(-0.2, 1.2), numbers.uniform(-0.2, 1.2)) for _ in range(numbers.randint(3, 9))
    )
    expected = [inside(points, (x + 0.5) / 7, (y + 0.5) / 5) for y in range(5) for x in range(7)]
    assert list(Polygon(points).raster(7, 5)) == expected


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_neighbours_tile_without_gap_or_overlap(top: float, bottom: float) -> None:
    left = Polygon(((0, 0), (top, 0), (bottom, 1), (0, 1)))
    right = Polygon(((top, 0), (1, 0), (1, 1), (bottom, 1)))
    both = zip(left.raster(16, 16), right.raster(16, 16), strict=True)
    assert all(one + other == 1 for one, other in both)


@given(polygons)
def test_nothing_is_set_outside_the_bounds_of_a_polygon(polygon: Polygon) -> None:
    bounds, raster = polygon.bounds, polygon.raster(16, 16)
    for index in (index for index, value in enumerate(raster) if value):
        assert bounds.x0 <= (index % 16 + 0.5) / 16 <= bounds.x1
        assert bounds.y0 <= (index // 16 + 0.5) / 16 <= bounds.y1


@given(rasters())
def test_run_lengths_give_back_their_raster(raster: tuple[bytes, int, int]) -> None:
    pixels, width, height = raster
    mask = RunLength.from_raster(pixels, width, height)
    assert mask.fault is None
    assert mask.raster(width, height) == pixels
    assert mask.is_empty == (not any(pixels))
    assert all(count > 0 for count in mask.counts[1:])


@given(rasters(), st.tuples(*[st.integers(0, 3)] * 4))
def test_a_window_is_a_raster_with_nothing_around(
    raster: tuple[bytes, int, int], margins: tuple[int, int, int, int]
) -> None:
    pixels, width, height = raster
    left, above, right, below = margins
    whole = width + left + right
    lines = [bytes(whole)] * above
    lines += [bytes(left) + bytes(line) + bytes(right) for line in rows(pixels, width)]
    lines += [bytes(whole)] * below
    mask = RunLength.from_window(pixels, (left, above, left + width, above + height), whole, len(lines))
    assert mask.fault is None
    assert mask.raster(whole, len(lines)) == b"".join(lines)


@given(polygons, st.tuples(*[st.integers(0, 8)] * 4))
def test_painting_a_window_is_a_part_of_painting_all(
    polygon: Polygon, edges: tuple[int, int, int, int]
) -> None:
    left, right = sorted(edges[:2])
    top, bottom = sorted(edges[2:])
    right, bottom = right + 1, bottom + 1
    part = bytearray((right - left) * (bottom - top))
    polygon.paint(part, 9, 9, (left, top, right, bottom))
    whole = rows(polygon.raster(9, 9), 9)
    assert rows(bytes(part), right - left) == [line[left:right] for line in whole[top:bottom]]


@given(rasters())
def test_the_bounds_of_run_lengths_are_tight(raster: tuple[bytes, int, int]) -> None:
    pixels, width, height = raster
    found = [(index % width, index // width) for index, value in enumerate(pixels) if value]
    columns, lines = [x for x, _ in found] or [0], [y for _, y in found] or [0]
    expected = Box(
        min(columns) / width,
        min(lines) / height,
        (max(columns) + bool(found)) / width,
        (max(lines) + bool(found)) / height,
    )
    assert RunLength.from_raster(pixels, width, height).bounds == expected


@given(rasters(), st.integers(1, 20), st.integers(1, 20))
def test_resampling_takes_the_pixel_under_the_centre(
    raster: tuple[bytes, int, int], width: int, height: int
) -> None:
    pixels, source_width, source_height = raster
    sampled = RunLength.from_raster(*raster).raster(width, height)
    for y in range(height):
        for x in range(width):
            # Integer arithmetic: floor((x + 1/2) / width * source_width).
            column = (2 * x + 1) * source_width // (2 * width)
            line = (2 * y + 1) * source_height // (2 * height)
            near_edge = (2 * x + 1) * source_width % (2 * width) == 0 or (2 * y + 1) * source_height % (
                2 * height
            ) == 0
            assert near_edge or sampled[y * width + x] == pixels[line * source_width + column]


def test_the_order_of_counts_is_cocos() -> None:
    # Two columns of three: the left one has a 1 at the bottom, the right one at the top.
    mask = RunLength((3, 2), (2, 2, 2))
    assert rows(mask.raster(2, 3), 2) == [[0, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize("raster", [b"\x00" * 5, b"\x00\x01\x02\x00"])
def test_a_raster_of_another_size_or_value_is_refused(raster: bytes) -> None:
    with pytest.raises(ValueError, match="raster"):
        RunLength.from_raster(raster, 2, 2)


def test_the_largest_masks_are_rastered_in_a_moment() -> None:
    side = 16_384
    stripes = RunLength((side, side), (0, *[side] * side))
    assert sum(stripes.raster(64, 64)) == 64 * 64  # every sampled column is even
    zigzag = Polygon(tuple((number / 5000, number % 2) for number in range(5000)))
    assert len(zigzag.raster(64, 64)) == 64 * 64


@given(
    rasters(),
    st.tuples(*[st.floats(-3, 3)] * 2),
    st.tuples(*[st.sampled_from([-2, -0.5, 0.25, 1, 2.5, 4])] * 2),
)
def test_a_mask_through_a_window_is_the_pixel_under_every_centre(
    raster: tuple[bytes, int, int], start: tuple[float, float], sides: tuple[float, float]
) -> None:
    pixels, width, height = raster
    mask = RunLength.from_raster(*raster)
    window = Box(*start, start[0] + sides[0], start[1] + sides[1])
    seen = mask.seen_through(window)
    assert seen.size == tuple(
        max(1, round(abs(side) * count)) for side, count in ((window.height, height), (window.width, width))
    )
    rows, columns = seen.size
    places = [
        (window.x0 + (x + 0.5) / columns * window.width, window.y0 + (y + 0.5) / rows * window.height)
        for y in range(rows)
        for x in range(columns)
    ]
    expected = [
        0 <= x < 1 and 0 <= y < 1 and pixels[int(y * height) * width + int(x * width)] for x, y in places
    ]
    found = seen.raster(columns, rows)
    assert [bool(value) for value in found] == [bool(value) for value in expected]
    assert seen == RunLength.from_raster(found, columns, rows)
