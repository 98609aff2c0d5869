"""Score of a picture against its layout, by boxes that overlap (IoU) and looks, as the judge sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...layout import Layout
from ...shapes_world import parse_figure
from ...shapes_world.judge import (
    Reading,
    box_overlap,
    match,
    read_things,
)

ATTRIBUTES = ("shape", "color", "pattern")


def score(image: NDArray[np.uint8], layout: Layout) -> dict[str, Any]:
    """Score of a picture (height, width, 3) by the judge, as plain JSON values.

    `instances`: for each active instance the overlap (intersection over union) of its box with what was
    matched to it, 0 if nothing was, and whether each attribute is right. `detections`: for each thing found
    how well its outline fits a shape of the world, and its overlap with every instance's box.
    """
    return placement(read_things(image), layout)


def placement(readings: Sequence[Reading], layout: Layout) -> dict[str, Any]:
    """`score` of what was read in a picture."""
    boxes = [instance.bounds for instance in layout.active]
    instances: list[dict[str, Any]] = []
    for instance, (reading, overlap) in zip(layout.active, match(readings, boxes), strict=True):
        look = parse_figure(instance.caption).look
        right = {
            name: reading is not None and getattr(reading, name) == getattr(look, name) for name in ATTRIBUTES
        }
        instances.append({"overlap": round(overlap, 4), **right})
    detections = [
        {"score": round(r.overlap, 4), "overlaps": [round(box_overlap(r.box, box), 4) for box in boxes]}
        for r in readings
    ]
    return {"instances": instances, "detections": detections}
