"""COCO's segmentations, which others use as well: outlines [[x, y, x, y, …], …] or run-lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, sqrt
from typing import Any

from ..box import WHOLE, Box
from ..instance import Canvas
from ..mask import Mask, Polygon, RunLength
from ..problems import FormatError, fault, text_fault
from .shared import Place, require_list, require_number, require_numbers, require_side

# A segmentation of several outlines is their union, kept as run-lengths of at most this resolution.
UNION_SIDE = 1024
# Hundreds of outlines as high as the canvas are united at a coarser one, which keeps reading within a second.
MOST_ROWS = 400_000
# Of the unions of one text together.
MOST_PIXELS = 100_000_000


def read_segmentation(value: Any, canvas: Canvas, where: Place, among: int = 1) -> Mask | None:
    """The mask of outlines or run-lengths in pixels of a canvas, None where there is nothing.

    `among` is the number of segmentations in the text: where they are many and large, unions become coarser.
    """
    if not value:
        return None
    if isinstance(value, dict):
        return _run_length(value, where)
    outlines = require_list(value, where)
    if not isinstance(outlines[0], (list, tuple)):
        raise fault("need_outlines", where.path, where=where.words)
    polygons = [_polygon(outline, canvas, where.item(index)) for index, outline in enumerate(outlines)]
    return polygons[0] if len(polygons) == 1 else _union(polygons, canvas, MOST_PIXELS // among)


def _polygon(outline: Any, canvas: Canvas, where: Place) -> Polygon:
    numbers = [
        require_number(value, where.item(index)) for index, value in enumerate(require_list(outline, where))
    ]
    if len(numbers) % 2 or len(numbers) < 6:
        raise fault("need_pairs", where.path, where=where.words, count=len(numbers))
    points = zip(numbers[::2], numbers[1::2], strict=True)
    polygon = Polygon(tuple((x / canvas.width, y / canvas.height) for x, y in points))
    if polygon.fault:
        raise fault("unusable_mask", where.path, where=where.words, fault=polygon.fault)
    return polygon


def _union(polygons: list[Polygon], canvas: Canvas, most: int) -> RunLength:
    boxes = [clipped for polygon in polygons if (clipped := polygon.bounds.clipped())] or [WHOLE]
    rows = sum(box.height for box in boxes)
    left, top, right, bottom = zip(*boxes, strict=True)
    around = Box(min(left), min(top), max(right), max(bottom))
    # Neither the rows of all outlines nor the pixels around them may become too many.
    side = min(UNION_SIDE, MOST_ROWS / rows, sqrt(most / around.area))
    shrink = min(1.0, side / max(canvas.width, canvas.height))
    width, height = (max(1, round(pixels * shrink)) for pixels in (canvas.width, canvas.height))
    window = (
        min(width - 1, floor(around.x0 * width)),
        min(height - 1, floor(around.y0 * height)),
        ceil(around.x1 * width),
        ceil(around.y1 * height),
    )
    covered = bytearray((window[2] - window[0]) * (window[3] - window[1]))
    for polygon in polygons:
        polygon.paint(covered, width, height, window)
    return RunLength.from_window(bytes(covered), window, width, height)


def _run_length(value: Mapping[str, Any], where: Place) -> RunLength:
    size = Place(where.words, (*where.path, "size"))
    height, width = (
        require_side(side, where.key("size").item(index))
        for index, side in enumerate(require_numbers(value.get("size"), 2, size))
    )
    numbers = _counts(value.get("counts"), where.key("counts"))
    if not all(float(number).is_integer() for number in numbers):
        raise fault("need_whole", where.key("counts").path, where=where.key("counts").words)
    mask = RunLength((height, width), tuple(int(number) for number in numbers))
    if mask.fault:
        raise fault("unusable_mask", where.path, where=where.words, fault=mask.fault)
    return mask


def _counts(value: Any, where: Place) -> Sequence[float]:
    if not isinstance(value, str):
        return [
            require_number(count, where.item(index)) for index, count in enumerate(require_list(value, where))
        ]
    try:
        return decode_counts(value)
    except FormatError as error:
        error.path = where.path
        raise


def decode_counts(text: str) -> list[int]:
    """The counts of COCO's compressed form; FormatError for text that is not one.

    Each count is a signed number in base 32, lowest digit first, digits written from "0" on: 32 marks
    that more digits follow, 16 in the last one the sign. From the fourth count on it is the difference to the
    count two before (cocoapi maskApi).
    """
    counts: list[int] = []
    value = shift = 0
    for position, character in enumerate(text):
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 60:
            raise text_fault("compressed", text, position)
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise text_fault("compressed_cut", text, len(text))
    return counts
