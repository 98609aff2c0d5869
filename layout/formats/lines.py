"""Plain lines: "x y x y: caption", left, top, right, bottom.

Numbers with % are percent; others are fractions, or pixels where a line "canvas: 1024 x 768" (or the caller)
tells the size, or what the caller says. A first line without a box is the prompt; "prompt: …" and
"negative: …" say so themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

from ..box import Box
from ..document import Layout
from ..instance import Canvas
from ..json_text import decode
from ..messages import quote
from ..problems import fault, text_fault
from .conventions import SIDES, known_unit
from .notes import note, warn
from .shared import Place, canvas_of, exported, numbered

_NUMBER = r"([-+]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?%?)"
# Never two optional runs of blanks side by side: a long run would take quadratic time.
_MARK = r"\s*(?:(?:[-*+•·–]|[0-9]{1,4}[.)、])\s+)?"
_GAP = r"[\s,;，；、]+"
_BOX = re.compile(_MARK + r"(?:[\[(]\s*)?" + _GAP.join([_NUMBER] * 4) + r"\s*(?:[\])]\s*)?[:：]")
# A line that is plainly meant for a box: several numbers and a colon, or three without one.
_BROKEN = re.compile(
    _MARK + rf"(?:[\[(]\s*)?{_NUMBER}{_GAP}{_NUMBER}(?:{_GAP}{_NUMBER})*(?:\s*[\])])?(?:\s*[:：]|(?<=[\])]))"
    rf"|{_MARK}(?:[\[(]\s*)?{_NUMBER}{_GAP}{_NUMBER}{_GAP}{_NUMBER}(?:{_GAP}|\Z)"
)
_KEY = re.compile(r"\s*(prompt|negative|canvas)\s*[:：]", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,6})(?:\s*[x×*,]\s*|\s+)([0-9]{1,6})")


# What ends a line in texts from elsewhere: old programs, word processors, web pages.
_BREAKS = dict.fromkeys(map(ord, "\r\v\f\x85\u2028\u2029"), "\n")
_PLAIN = {
    **_BREAKS,
    **{ord(sign): " " for sign in "\u200b\u2060\ufeff\u00ad"},
    **{ord(wide): narrow for wide, narrow in zip("０１２３４５６７８９．％－", "0123456789.%-", strict=True)},
}


@dataclass(frozen=True)
class _Line:
    numbers: tuple[str, ...]
    caption: str
    position: int


def recognises_text(text: str) -> bool:
    """Whether any line is a box or the first one tells the canvas size."""
    text = _plain(text)
    first = _KEY.match(text.lstrip())
    if first and first[1].lower() == "canvas":
        return True
    return any(_BOX.match(line) for line in text.split("\n"))


def read(source: str | bytes, *, canvas: Canvas | None = None, units: str | None = None) -> Layout:
    """A layout from lines; `canvas` is used where no line tells the size.

    `units` is fraction, percent, pixel or grid1000, for numbers without %.
    """
    text = decode(source)
    boxes: list[_Line] = []
    texts = {"prompt": "", "negative": ""}
    told: set[str] = set()
    position = 0
    for line, plain in zip(text.translate(_BREAKS).split("\n"), _plain(text).split("\n"), strict=True):
        if found := _BOX.match(plain):
            boxes.append(_Line(found.groups(), line[found.end() :].strip(), position + found.start(1)))
        elif found := _KEY.match(plain):
            key = found[1].lower()
            if key in told:
                raise text_fault("lines_twice", text, position + found.start(1), key=key)
            told.add(key)
            if key == "canvas":
                canvas = _canvas(plain[found.end() :], text, position + found.end())
            else:
                texts[key] = line[found.end() :].strip()
        elif line.strip():
            if boxes or any(texts.values()) or _BROKEN.match(plain):
                raise text_fault("lines_unknown", text, position + len(line) - len(line.lstrip()))
            texts["prompt"] = line.strip()
            told.add("prompt")
        position += len(line) + 1
    return Layout(
        numbered(
            (box, line.caption, None, {})
            for box, line in _places(boxes, (canvas, "canvas" in told), known_unit(units, ()), text)
        ),
        canvas or Canvas(),
        texts["prompt"],
        texts["negative"],
    )


def _plain(text: str) -> str:
    """The text for finding numbers: invisible characters are blanks, wide digits narrow, ends of lines alike;
    length kept.
    """
    return text.translate(_PLAIN)


def _canvas(value: str, text: str, position: int) -> Canvas:
    found = _SIZE.fullmatch(value.strip())
    if not found:
        raise text_fault("lines_size", text, position)
    return canvas_of(int(found[1]), int(found[2]), Place("the canvas size"))


def _places(
    lines: list[_Line], canvas: tuple[Canvas | None, bool], told: str | None, text: str
) -> list[tuple[Box, _Line]]:
    """Boxes of lines; `canvas` with whether the text itself tells it, the unit if it is told."""
    plain = [
        (abs(Decimal(value)), line) for line in lines for value in line.numbers if not value.endswith("%")
    ]
    unit = told or _likely_unit(plain, canvas, text)
    size = canvas[0]
    if unit == "pixel" and size is None:
        raise fault("need_canvas", what="the boxes")
    units = [unit] if plain else []
    units += ["percent"] if len(plain) < 4 * len(lines) and units != ["percent"] else []
    note(" and ".join(units), "xyxy")
    side = SIDES.get(unit, 1)
    sides = (size.width, size.height) if size and unit == "pixel" else (side, side)
    return [(_box(line, sides, text), line) for line in lines]


def _likely_unit(numbers: list[tuple[Decimal, _Line]], canvas: tuple[Canvas | None, bool], text: str) -> str:
    size, is_told = canvas
    large = [(value, line) for value, line in numbers if value > 1]
    if not large:
        return "fraction"
    if any(0 < value < 1 for value, _ in numbers):
        raise text_fault("lines_mixed", text, large[0][1].position)
    if size is None:
        raise text_fault("lines_pixels", text, large[0][1].position)
    most = max(value for value, _ in large)
    others = [unit for unit in ("percent", "grid1000") if most <= SIDES[unit]]
    if others and not is_told:
        warn("unit_taken", width=size.width, height=size.height, choices=", ".join(others))
    return "pixel"


def _box(line: _Line, sides: tuple[int, int], whole: str) -> Box:
    values = []
    for text, side in zip(line.numbers, (*sides, *sides), strict=True):
        # Decimal division, so that percent read and written are exact.
        value = Decimal(text[:-1]) / 100 if text.endswith("%") else Decimal(text) / side
        values.append(float(value))
        if not isfinite(values[-1]):
            raise text_fault("json_large", whole, line.position, value=quote(text, 20))
    return Box(*values)


def write(layout: Layout) -> str:
    """One line per enabled instance. Line breaks become spaces.

    Masks, strengths and the negatives of instances are lost.
    """
    lines = [f"canvas: {layout.canvas.width} x {layout.canvas.height}"]
    lines += [
        f"{key}: {_flat(text)}" for key in ("prompt", "negative") if (text := getattr(layout, key)).strip()
    ]
    items = exported(layout)
    percent = any(not 0 <= value <= 1 for item in items for value in item.bounds)
    lines += [
        f"{' '.join(_number(value, percent) for value in item.bounds)}: {_flat(item.caption)}"
        for item in items
    ]
    return "\n".join(lines) + "\n"


def _flat(text: str) -> str:
    return " ".join(part.strip() for part in re.split(r"[\r\n\v\f\x85\u2028\u2029]+", text)).strip()


def _number(value: float, percent: bool) -> str:
    exact = Decimal(repr(float(value))) * (100 if percent else 1)
    plain = f"{exact.normalize():f}"
    return (plain if len(plain) < 40 else str(exact)) + ("%" if percent else "")
