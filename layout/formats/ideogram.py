"""Ideogram 4 prompts as ComfyUI's Create Bounding Boxes and Build JSON Prompt (Ideogram) write them.

Elements are {"type", "bbox": [ymin, xmin, ymax, xmax], "text", "desc", "color_palette"}, the grid 0 to 1000.
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
    caption_and_extra,
    exported,
    given,
    grid_box,
    metadata_of,
    numbered,
    on_canvas,
    require_list,
    require_numbers,
    require_object,
    require_text,
    shown,
)

GRID = 1000
_STYLE = ("aesthetics", "lighting", "photo", "art_style", "medium")
# Of an element, by the published format.
MOST_COLORS = 5
_KEYS = {"type", "bbox", "text", "desc", "color_palette"}
_SCENE = "compositional_deconstruction"
_STYLES = "style_description"


def recognises(data: Any) -> bool:
    if isinstance(data, dict) and _SCENE in data:
        return True
    elements = data if isinstance(data, list) else [data]
    return bool(elements) and all(_is_element(element) for element in elements)


def _is_element(value: Any) -> bool:
    """Whether there are a description and a box on the grid, and no key that Ideogram does not have."""
    if not isinstance(value, dict) or value.get("type") not in ("obj", "text"):
        return False
    keys = set(value)
    return (
        "bbox" in keys
        and keys <= _KEYS
        and bool(keys & {"desc", "color_palette"})
        and _may_be_on_grid(value["bbox"])
    )


def _may_be_on_grid(box: Any) -> bool:
    numbers = [number for number in box if isinstance(number, (int, float))] if isinstance(box, list) else []
    fractions = numbers and all(0 <= number <= 1 for number in numbers) and any(numbers)
    return not fractions and all(0 <= number <= GRID for number in numbers)


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """A whole prompt, a list of elements or one element; the grid has no size, so 1024 × 1024 unless given.

    Description, background and style become the prompt; a palette for the whole picture is lost.
    """
    data = parsed(source)
    note("grid1000", "yxyx")
    prompt = ""
    place = Place("elements")
    if isinstance(data, dict) and _SCENE in data:
        scene = require_object(data[_SCENE], Place(_SCENE, (_SCENE,)))
        style = require_object(data.get(_STYLES) or {}, Place(_STYLES, (_STYLES,)))
        parts = [(data, ("high_level_description",)), (scene, (_SCENE, "background"))]
        parts += [(style, (_STYLES, name)) for name in _STYLE]
        texts = (require_text(given(held, path[-1]), Place("a description", path)) for held, path in parts)
        prompt = ", ".join(text for text in texts if text.strip())
        data, place = given(scene, "elements", []), Place("elements", (_SCENE, "elements"))
    if isinstance(data, dict):
        elements = [(data, place.path)]
    else:
        elements = [(item, place.item(index).path) for index, item in enumerate(require_list(data, place))]
    return Layout(
        numbered(
            _element(item, Place(f"element {number}", path))
            for number, (item, path) in enumerate(elements, 1)
        ),
        canvas or Canvas(),
        prompt,
    )


def _element(value: Any, where: Place) -> tuple[Box, str, str | None, dict[str, Any]]:
    value = require_object(value, where)
    top, left, bottom, right = require_numbers(value.get("bbox"), 4, where.key("bbox"))
    return (
        Box(left / GRID, top / GRID, right / GRID, bottom / GRID),
        *caption_and_extra(value, "color_palette", where),
    )


def write(layout: Layout) -> dict[str, Any]:
    """A prompt for Ideogram 4: the layout's prompt as description, one element per enabled instance."""
    scene = {"background": "", "elements": write_elements(layout)}
    return {"high_level_description": layout.prompt, _SCENE: scene}


def write_elements(layout: Layout) -> list[dict[str, Any]]:
    """The elements alone; masks, negatives and strengths are lost."""
    return [_write_element(metadata_of(item), on_canvas(item.bounds)) for item in exported(layout)]


def write_drawn_elements(layout: Layout) -> list[dict[str, Any]]:
    """The elements as they were drawn: words that reading has put into a caption are in the text alone."""
    return [_as_drawn(element) for element in write_elements(layout)]


def _as_drawn(element: dict[str, Any]) -> dict[str, Any]:
    words = shown(element.get("text", ""))
    if not element["desc"].endswith(words):
        return element
    return {**element, "desc": element["desc"].removesuffix(words).removesuffix(", ")}


def _write_element(metadata: dict[str, Any], box: Box) -> dict[str, Any]:
    left, top, right, bottom = grid_box(box, GRID, GRID)
    element: dict[str, Any] = {"type": metadata["type"], "bbox": [top, left, bottom, right]}
    if metadata["type"] == "text":
        element["text"] = metadata["text"]
    element["desc"] = metadata["desc"]
    if metadata["palette"]:
        element["color_palette"] = metadata["palette"][:MOST_COLORS]
    return element
