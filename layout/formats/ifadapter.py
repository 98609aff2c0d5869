"""The IFAdapter authors' layouts: {"caption", "annotations": [{"box": [x, y, w, h], "caption": [texts]}]}.

Boxes are pixels of a square canvas that the file does not name; the authors' examples are drawn on 768.
"""

from __future__ import annotations

from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas
from .found_json import parsed
from .notes import note
from .shared import (
    Place,
    exported,
    given,
    kind_of,
    numbered,
    one_text,
    require_list,
    require_numbers,
    require_object,
    tidy,
    warn_of_numbers,
)

RESOLUTION = 768


def recognises(data: Any) -> bool:
    if not isinstance(data, dict) or "images" in data or not isinstance(data.get("annotations"), list):
        return False
    listed = data["annotations"]
    return ("caption" in data or bool(listed)) and all(
        isinstance(item, dict) and "box" in item for item in listed
    )


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """A layout in pixels of `canvas`, 768 × 768 unless given. Several captions are joined by ", "."""
    canvas = canvas or Canvas(RESOLUTION, RESOLUTION)
    data = require_object(parsed(source), Place("an IFAdapter layout"))
    note("pixel", "xywh")
    unnamed: set[str] = set()
    contents = []
    listed = require_list(data.get("annotations"), Place("annotations", ("annotations",)))
    for index, item in enumerate(listed):
        where = Place(f"annotation {index + 1}", ("annotations", index))
        item = require_object(item, where)
        pixels = require_numbers(item.get("box"), 4, where.key("box"))
        caption = one_text(given(item, "caption"), where.key("caption")) or kind_of(item, unnamed)
        contents.append((Box.from_pixels(pixels, canvas.width, canvas.height), caption, None, {}))
    warn_of_numbers(unnamed)
    return Layout(
        numbered(contents), canvas, one_text(given(data, "caption"), Place("caption", ("caption",)))
    )


def write(layout: Layout) -> dict[str, Any]:
    """Boxes in pixels of a 768 × 768 canvas whatever the aspect ratio: the reference divides by one side.

    Masks, negatives, strengths and the canvas size are lost.
    """
    annotations = [
        {
            "box": [tidy(value) for value in item.bounds.to_pixels(RESOLUTION, RESOLUTION)],
            "caption": [item.caption],
        }
        for item in exported(layout)
    ]
    return {"caption": layout.prompt, "annotations": annotations}
