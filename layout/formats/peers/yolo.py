"""YOLO's labels: lines "class x y width height" (centre and size) or "class x y x y …" in fractions.

Names of the classes may stand in the same text: the part of a data.yaml under "names", or one name a line.
Read only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...json_text import decode
from ...mask import Mask
from ...problems import text_fault
from ..conventions import CORNERS
from ..notes import note, warn
from ..shared import Place, class_caption, outline, shaped, warn_of_numbers

_ROW = re.compile(r"[ \t]*([0-9]{1,6})((?:[ \t]+[-+]?[0-9.]{1,40}(?:[eE][-+]?[0-9]{1,3})?)+)[ \t]*$")
# Numbers side by side that are no row, such as one that is cut off: never the name of a class.
_BROKEN = re.compile(
    r"[ \t]*[-+]?[0-9.]{1,40}(?:[ \t]+(?:[-+]?[0-9.]{1,40}(?:[eE][-+]?[0-9]{1,3})?|nan|-?inf))+[ \t\r]*"
)
_NAMES = re.compile(r"[ \t]*names[ \t]*:[ \t]*(.*)$")
_ITEM = re.compile(r"[ \t]*(?:([0-9]{1,6})[ \t]*:|-)[ \t]+(.+)$")
_KEY = re.compile(r"[A-Za-z_][\w-]*[ \t]*:")


def recognises_text(text: str) -> bool:
    """Whether a line is a class with four fractions or more."""
    return any((row := _row(line)) and _are_fractions(row[1]) for line in text.split("\n"))


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Boxes, and outlines as masks; a class without a name goes by its number, with a warning."""
    text = decode(source)
    names = _names(text)
    unnamed: set[str] = set()
    note("fraction", "cxcywh")
    contents: list[tuple[Box, str, Mask | None]] = []
    position = 0
    for line in text.split("\n"):
        if row := _row(line):
            if not _are_fractions(row[1]):
                raise text_fault("yolo_row", text, position)
            box, mask = _area(row[1], text, position)
            contents.append((box, class_caption(row[0], names, unnamed), mask))
        elif _BROKEN.fullmatch(line):
            raise text_fault("yolo_row", text, position)
        position += len(line) + 1
    warn_of_numbers(unnamed)
    return Layout(shaped(contents), canvas or Canvas())


def _row(line: str) -> tuple[int, list[float]] | None:
    found = _ROW.match(line.rstrip("\r"))
    if not found:
        return None
    try:
        numbers = [float(number) for number in found[2].split()]
    except ValueError:
        return None
    return (int(found[1]), numbers) if len(numbers) >= 4 else None


def _are_fractions(numbers: list[float]) -> bool:
    # Boxes of detectors leave the picture by a rounding; of keypoints only the box counts.
    return all(-0.01 <= number <= 1.01 for number in numbers[:4])


def _area(numbers: list[float], text: str, position: int) -> tuple[Box, Mask | None]:
    """A box (with a confidence or keypoints behind it), or an outline of three points or more."""
    if len(numbers) > 5 and len(numbers) % 2 == 0:
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        return outline(points, Place(f"the outline at character {position + 1}"))
    if len(numbers) > 5:
        if len(numbers) % 3 != 1:
            raise text_fault("yolo_row", text, position)
        warn("key_not_read", key="keypoints", count=1)
    return Box(*CORNERS["cxcywh"](numbers[:4])), None


def _names(text: str) -> dict[str, str]:
    """Names by class number: of the list or mapping "names", else of the other lines in their order."""
    lines = [line.rstrip() for line in text.split("\n")]
    others = [line.strip() for line in lines if line.strip() and not _row(line)]
    others = [line for line in others if not line.startswith("#")]
    head = next((index for index, line in enumerate(lines) if _NAMES.match(line)), None)
    if head is None:
        listed = [found for line in others if (found := _ITEM.match(line))]
        if listed and len(listed) == len(others):
            return dict(_numbered(listed))
        return {
            str(number): _bare(line)
            for number, line in enumerate(line for line in others if not _KEY.match(line))
        }
    found = _NAMES.match(lines[head])
    rest = found[1].strip() if found else ""
    if rest:
        entries = [entry.strip() for entry in rest.strip("[]{}").split(",") if entry.strip()]
        pairs = [re.match(r"([0-9]{1,6})[ \t]*:[ \t]*(.+)$", entry) for entry in entries]
        return {
            pair[1] if pair else str(number): _bare(pair[2] if pair else entry)
            for number, (entry, pair) in enumerate(zip(entries, pairs, strict=True))
        }
    block: list[re.Match[str]] = []
    for line in lines[head + 1 :]:
        item = _ITEM.match(line)
        if not item:
            break
        block.append(item)
    return dict(_numbered(block))


def _numbered(items: list[re.Match[str]]) -> Iterator[tuple[str, str]]:
    return ((item[1] or str(index), _bare(item[2])) for index, item in enumerate(items))


def _bare(name: str) -> str:
    """A name without a comment behind it and without quotes."""
    return name.partition(" #")[0].strip().strip("\"'")
