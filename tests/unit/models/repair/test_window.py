"""Windows around regions: inside the picture, of its proportions, around the region."""

from __future__ import annotations

import pytest

from instance_composer.layout import Box, Canvas
from instance_composer.models.repair.window import SMALLEST, drawing_size, has_proportions, window_around

BOXES = [
    Box(0.4, 0.4, 0.6, 0.6),
    Box(0.0, 0.0, 0.3, 0.1),
    Box(0.9, 0.2, 1.0, 0.9),
    Box(0.5, 0.5, 0.501, 0.501),
    Box(0.0, 0.0, 1.0, 1.0),
]


@pytest.mark.parametrize("size", [(1024, 1024), (1216, 832), (128, 96)])
@pytest.mark.parametrize("context", [0.0, 0.5, 10.0])
@pytest.mark.parametrize("box", BOXES)
def test_a_window_holds_its_region_and_stays_inside(size, context, box):
    width, height = size
    left, top, right, bottom = window_around(box, width, height, context)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert left <= round(box.x0 * width) + 1
    assert right >= round(box.x1 * width) - 1
    assert top <= round(box.y0 * height) + 1
    assert bottom >= round(box.y1 * height) - 1
    assert (right - left) / width == pytest.approx((bottom - top) / height, abs=1 / height)
    assert (right - left) / width >= SMALLEST - 1 / width


def test_context_is_a_share_of_the_longer_side():
    # 200 pixels of 1000, half of that on both sides.
    assert window_around(Box(0.4, 0.45, 0.6, 0.55), 1000, 1000, 0.5) == (300, 300, 700, 700)


def test_all_of_the_picture_is_the_largest_window():
    assert window_around(Box(0.0, 0.4, 0.9, 0.6), 1216, 832, 0.5) == (0, 0, 1216, 832)


@pytest.mark.parametrize(
    ("picture", "canvas", "expected"),
    [
        ((1024, 1024), (1024, 1024), True),
        ((2432, 1664), (1216, 832), True),
        # Sides that a latent rounded down, one or both of them.
        ((2040, 1024), (2047, 1031), True),
        ((2048, 504), (2048, 511), True),
        ((1344, 768), (1024, 1024), False),
        ((768, 1344), (1344, 768), False),
        ((1024, 960), (1024, 1024), False),
    ],
)
def test_proportions_agree_up_to_rounding(picture, canvas, expected):
    assert has_proportions(*picture, Canvas(*canvas), 8) is expected


@pytest.mark.parametrize("unit", [8, 16, 32])
@pytest.mark.parametrize("picture", [(1344, 768), (640, 1536)])
def test_a_window_of_other_proportions_is_not_stretched(unit, picture):
    canvas = Canvas(1024, 1000)
    window = window_around(Box(0.1, 0.3, 0.4, 0.6), *picture, 0.5)
    width, height = drawing_size(window, canvas, unit, like_canvas=False)
    assert width % unit == height % unit == 0
    # Half a unit of rounding on either side.
    slack = unit / min(width, height)
    assert width / height == pytest.approx(picture[0] / picture[1], rel=slack)
    assert width * height == pytest.approx(1024 * 1000, rel=slack)


def test_a_window_of_the_canvas_is_drawn_in_its_size():
    canvas = Canvas(1016, 772)
    assert drawing_size((3, 5, 400, 301), canvas, 8, like_canvas=True) == (1016, 768)
    assert drawing_size((3, 5, 400, 301), Canvas(16, 16), 32, like_canvas=True) == (32, 32)
