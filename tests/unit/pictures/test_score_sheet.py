"""The sheet of scored pictures: order, bars, marks of the best."""

from __future__ import annotations

import numpy
from PIL import Image

from instance_composer.pictures.score_sheet import draw_score_sheet

COLORS = ("red", "lime", "blue")
SCORES = [
    [("picture 1", -0.5), ("attribute", 1.0)],
    [("picture 2", 1.5), ("attribute", 0.25)],
    [("picture 3", 0.5), ("attribute", -2.0)],
]
GOOD, BAD, BEST = (86, 180, 130), (213, 94, 80), (255, 200, 87)


def sheet_of(number: int) -> Image.Image:
    pictures = [Image.new("RGB", (32, 32), color) for color in COLORS[:number]]
    order = sorted(range(number), key=lambda one: -SCORES[one][0][1])
    return draw_score_sheet(pictures, order, SCORES[:number])


def count(sheet: Image.Image, color: tuple[int, int, int]) -> int:
    return int((numpy.asarray(sheet) == color).all(axis=-1).sum())


def test_the_best_picture_comes_first_and_is_framed():
    sheet = sheet_of(3)
    assert sheet.getpixel((20, 20)) == (0, 255, 0)
    assert sheet.getpixel((6, 120)) == BEST
    assert sheet.getpixel((240 + 6, 120)) != BEST


def test_bars_are_as_long_as_their_scores_and_on_the_side_of_their_sign():
    sheet = sheet_of(3)
    lengths = {color: count(sheet, color) / 7 for color in (GOOD, BAD)}
    unit = (224 - 86 - 44) / 2 / 2.0  # pixels of a score of 1: the longest bar is 2
    assert abs(lengths[GOOD] - unit * (1.0 + 1.5 + 0.25 + 0.5)) < 10
    assert abs(lengths[BAD] - unit * (0.5 + 2.0)) < 10


def test_one_picture_alone_is_neither_framed_nor_starred():
    sheet = sheet_of(1)
    assert count(sheet, BEST) == 0
    assert count(sheet, GOOD) > 0


def test_the_highest_score_of_each_name_has_the_star():
    """On the sheet the pictures are 2, 3, 1; the first leads by picture, the last by attribute."""
    sheet = sheet_of(3).convert("RGB")

    def starred(place: int, row: int) -> bool:
        left, top = 8 + 232 * (place % 2), 8 + place // 2 * sheet.height // 2
        return sheet.getpixel((left + 86 - 8, top + 224 + 4 + 20 * row + 8)) == BEST

    found = [[starred(place, row) for row in range(2)] for place in range(3)]
    assert found == [[True, False], [False, False], [False, True]]
