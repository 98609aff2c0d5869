"""Boxes as scorers have them: left, top, right, bottom in pixels."""

from __future__ import annotations

from collections.abc import Sequence

PixelBox = Sequence[float]


def area(box: PixelBox) -> float:
    """Square pixels of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def intersection(a: PixelBox, b: PixelBox) -> float:
    """Square pixels that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def overlap(a: PixelBox, b: PixelBox) -> float:
    """Intersection over union; 0 for two boxes without area."""
    common = intersection(a, b)
    union = area(a) + area(b) - common
    return common / union if union > 0 else 0.0


def common_box(a: PixelBox, b: PixelBox) -> tuple[float, float, float, float] | None:
    """The box that two boxes share, None where they only touch or lie apart."""
    box = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return box if box[0] < box[2] and box[1] < box[3] else None


def suppress(boxes: Sequence[PixelBox], scores: Sequence[float], most: float) -> list[int]:
    """Indices that stay, best score first, when a box goes that overlaps a better one by more than `most`."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        if all(overlap(boxes[index], boxes[other]) <= most for other in kept):
            kept.append(index)
    return kept
