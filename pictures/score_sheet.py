"""Pictures in the order of their scores, as one sheet with a bar for every score."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin

from PIL import Image, ImageDraw, ImageFont

_SIDE, _LINE, _MARGIN = 224, 20, 8
_MOST = 24
_BAR, _NAME, _NUMBER = 6, 86, 44  # height of a bar; widths of what stands before and after it
_BACKGROUND, _TEXT, _MUTED = (24, 24, 27), "white", (190, 190, 196)
_GOOD, _BAD, _BEST, _AXIS = (86, 180, 130), (213, 94, 80), (255, 200, 87), (90, 90, 96)


def draw_score_sheet(
    pictures: Sequence[Image.Image], order: Sequence[int], scores: Sequence[Sequence[tuple[str, float]]]
) -> Image.Image:
    """Small pictures, the first of `order` first, each with its named scores as bars from 0 to either side.

    `scores` belong to the pictures in their own order, the one that ranks them first. The longest bar is the
    score farthest from 0, or 1. The first picture is framed, and the highest score of each name has a star
    where there are several pictures. At most 24 are shown.
    """
    shown = list(order)[:_MOST]
    columns = min(len(shown), max(1, round((2 * len(shown)) ** 0.5)))
    rows = -(-len(shown) // columns)
    height = _SIDE + _LINE * max(len(own) for own in scores) + 2 * _MARGIN
    sheet = Image.new("RGB", (columns * (_SIDE + _MARGIN) + _MARGIN, rows * height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    longest = max(1.0, *(abs(value) for own in scores for _, value in own))
    for place, number in enumerate(shown):
        left = _MARGIN + place % columns * (_SIDE + _MARGIN)
        top = _MARGIN + place // columns * height
        sheet.paste(_small(pictures[number]), (left, top))
        if place == 0 and len(shown) > 1:
            draw.rectangle((left - 3, top - 3, left + _SIDE + 2, top + _SIDE + 2), outline=_BEST, width=3)
        for row, (name, value) in enumerate(scores[number]):
            best = len(scores) > 1 and value == max(own[row][1] for own in scores)
            _draw_score(draw, (left, top + _SIDE + 4 + row * _LINE), name, value, value / longest, best)
    return sheet


def _small(picture: Image.Image) -> Image.Image:
    scale = _SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    filter_ = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return picture.convert("RGB").resize(size, filter_)


def _draw_score(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], name: str, value: float, share: float, best: bool
) -> None:
    """One line: name, bar, number; a star after the name if it is the best one."""
    left, top = at
    font = ImageFont.load_default(13)
    draw.text((left, top), name, fill=_TEXT if best else _MUTED, font=font)
    if best:
        _draw_star(draw, (left + _NAME - 8, top + 8))
    half = (_SIDE - _NAME - _NUMBER) / 2
    middle, bar = left + _NAME + half, top + 6
    end = middle + half * share
    draw.rectangle((min(middle, end), bar, max(middle, end), bar + _BAR), fill=_GOOD if share > 0 else _BAD)
    draw.line((middle, bar - 2, middle, bar + _BAR + 2), fill=_AXIS)
    text = f"{value:+.2f}"
    draw.text(
        (left + _SIDE - draw.textlength(text, font), top), text, fill=_TEXT if best else _MUTED, font=font
    )


def _draw_star(draw: ImageDraw.ImageDraw, centre: tuple[int, int]) -> None:
    points = [
        (centre[0] + radius * sin(corner * pi / 5), centre[1] - radius * cos(corner * pi / 5))
        for corner in range(10)
        for radius in (6.0 if corner % 2 == 0 else 2.6,)
    ]
    draw.polygon(points, fill=_BEST)
