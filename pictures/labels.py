"""Named caption plates, placed so that they neither cover each other nor hide behind other regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from .captions import font_for, text_size, wrap

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

_PLATE = (18, 19, 22, 205)
_TEXT: Color = (245, 245, 245)
_MUTED: Color = (165, 165, 165)
_MOST_LINES = 3
# Comparing each label with every other takes time that grows with the square of their number.
_MOST_COMPARED = 200


@dataclass(frozen=True)
class Label:
    """A name and a caption for the region in `box` (left, top, right, bottom in pixels)."""

    name: str
    caption: str
    color: Color
    box: Rectangle
    muted: bool


@dataclass(frozen=True)
class _Plate:
    """A label set in type: its size, the badge's width, the height of a line."""

    label: Label
    lines: list[str]
    font: ImageFont.FreeTypeFont
    badge_font: ImageFont.FreeTypeFont
    width: int
    height: int
    badge: int
    line: int
    margin: int


def draw_labels(picture: Image.Image, labels: Sequence[Label]) -> None:
    """Draw all labels on an RGB picture, those in front (last) choosing their place first."""
    placed = _placed(labels, picture.size)
    draw = ImageDraw.Draw(picture, "RGBA")
    for plate, place in reversed(placed):
        _draw(draw, plate, place)


def _placed(labels: Sequence[Label], size: tuple[int, int]) -> list[tuple[_Plate, Rectangle]]:
    """The plates of labels with their places on a picture of a size, the last label first."""
    taken, in_front = (
        (_Painted(size), _Painted(size)) if len(labels) > _MOST_COMPARED else (_Listed(), _Listed())
    )
    placed: list[tuple[_Plate, Rectangle]] = []
    for label in reversed(labels):
        plate = _set(label, size)
        # Pixels lost on other labels, and far less gravely on regions in front.
        costs = [(1000.0 * taken.lost(spot) + in_front.lost(spot), spot) for spot in _places(plate, size)]
        placed.append((plate, min(costs, key=lambda cost: cost[0])[1]))
        taken.add(placed[-1][1])
        in_front.add(label.box)
    return placed


class _Listed:
    """Rectangles, each of which counts with all its pixels."""

    def __init__(self) -> None:
        self._rectangles: list[Rectangle] = []

    def add(self, rectangle: Rectangle) -> None:
        self._rectangles.append(rectangle)

    def lost(self, spot: Rectangle) -> int:
        """Pixels that a place shares with the rectangles."""
        return sum(_overlap(spot, other) for other in self._rectangles)


class _Painted:
    """Rectangles in any number; a pixel in several of them counts once."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._covered = Image.new("L", size)

    def add(self, rectangle: Rectangle) -> None:
        self._covered.paste(255, rectangle)

    def lost(self, spot: Rectangle) -> int:
        """Pixels that a place shares with the rectangles."""
        return self._covered.crop(spot).histogram()[255]


def _set(label: Label, size: tuple[int, int]) -> _Plate:
    letters = text_size(size)
    font, badge_font = font_for(label.caption, letters), font_for(label.name, letters)
    margin, line = max(3, letters // 3), round(letters * 1.25)
    badge = round(badge_font.getlength(label.name)) + 2 * margin
    inside = label.box[2] - label.box[0] - badge - 2 * margin
    widest = min(max(inside, letters * 8), size[0] - badge - 2 * margin)
    lines = wrap(label.caption, font, max(1, widest), _MOST_LINES)
    text = max((round(font.getlength(words) + 0.5) for words in lines), default=0)
    height = line * len(lines) + margin
    return _Plate(label, lines, font, badge_font, badge + text + 2 * margin, height, badge, line, margin)


def _places(plate: _Plate, size: tuple[int, int]) -> list[Rectangle]:
    """Places for a plate, best first: the corners inside its region, then above and below it."""
    left, top, right, bottom = plate.label.box
    corners = [
        (left, top),
        (left, bottom - plate.height),
        (right - plate.width, top),
        (right - plate.width, bottom - plate.height),
        (left, top - plate.height),
        (left, bottom),
        (left, (top + bottom - plate.height) // 2),
    ]
    spots = []
    for x, y in corners:
        x, y = max(0, min(size[0] - plate.width, x)), max(0, min(size[1] - plate.height, y))
        spots.append((x, y, x + plate.width, y + plate.height))
    return spots


def _overlap(one: Rectangle, other: Rectangle) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0


def _draw(draw: ImageDraw.ImageDraw, plate: _Plate, place: Rectangle) -> None:
    left, top, right, bottom = (place[0], place[1], place[2] - 1, place[3] - 1)
    draw.rectangle((left, top, right, bottom), fill=_PLATE)
    draw.rectangle((left, top, left + plate.badge - 1, bottom), fill=plate.label.color)
    middle = top + (plate.margin + plate.line) // 2
    draw.text(
        (left + plate.badge / 2, middle),
        plate.label.name,
        font=plate.badge_font,
        fill=_readable_on(plate.label.color),
        anchor="mm",
    )
    for index, words in enumerate(plate.lines):
        draw.text(
            (left + plate.badge + plate.margin, middle + index * plate.line),
            words,
            font=plate.font,
            fill=_MUTED if plate.label.muted else _TEXT,
            anchor="lm",
        )


def _readable_on(color: Color) -> Color:
    """Black or white, whichever stands out (weights of ITU-R BT.601)."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 125 else (255, 255, 255)
