"""Pictures in the order of their scores, as one sheet."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_SIDE, _LINE, _MARGIN = 224, 18, 8
_MOST = 24


def draw_score_sheet(
    pictures: Sequence[Image.Image], order: Sequence[int], lines: Sequence[Sequence[str]]
) -> Image.Image:
    """Small pictures, the first of `order` first, each with its lines of text below.

    `lines` belong to the pictures in their own order. At most 24 are shown.
    """
    shown = list(order)[:_MOST]
    columns = min(len(shown), max(1, round((2 * len(shown)) ** 0.5)))
    rows = -(-len(shown) // columns)
    height = _SIDE + _LINE * max(len(own) for own in lines) + 2 * _MARGIN
    sheet = Image.new("RGB", (columns * (_SIDE + _MARGIN) + _MARGIN, rows * height), (24, 24, 27))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for place, number in enumerate(shown):
        left = _MARGIN + place % columns * (_SIDE + _MARGIN)
        top = _MARGIN + place // columns * height
        picture = pictures[number].convert("RGB")
        scale = _SIDE / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        filter_ = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
        sheet.paste(picture.resize(size, filter_), (left, top))
        for row, line in enumerate(lines[number]):
            color = "white" if row == 0 else (190, 190, 196)
            draw.text((left, top + _SIDE + 2 + row * _LINE), line, fill=color, font=font)
    return sheet
