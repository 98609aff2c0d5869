"""Label Studio's tasks, whole and "min" exports: values are percent of the picture. Read only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import cos, radians, sin
from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...mask import Mask
from ..found_json import parsed
from ..notes import note, warn
from ..shared import (
    Place,
    canvas_of,
    chosen_picture,
    outline,
    require_list,
    require_number,
    require_numbers,
    require_object,
    require_text,
    shaped,
    turned_radii,
)

_SIDES = ("x", "y", "width", "height")
_ANSWERS = ("annotations", "completions", "predictions")
_SHAPES = ("rectangle", "polygon", "ellipse", "keypoint", "brush", "bitmask", "vector")
# Of no region, or of one that is another result.
_NOT_READ = ("choices", "relation")
# Their areas are pixels.
_PAINTED = ("brush", "brushlabels", "bitmask", "bitmasklabels")
_LABELS = (*(f"{shape}labels" for shape in _SHAPES), "labels")


def recognises(data: Any) -> bool:
    tasks = data if isinstance(data, list) else [data]
    return bool(tasks) and all(_is_result(item) or _results(item) is not None for item in tasks)


def _is_result(item: Any) -> bool:
    return (
        isinstance(item, dict) and isinstance(item.get("value"), dict) and isinstance(item.get("type"), str)
    )


def _results(task: Any) -> tuple[list[Any], str] | None:
    """The results of a task and what they are: of its first answer, or its own list in a "min" export."""
    if not isinstance(task, dict):
        return None
    if isinstance(task.get("result"), list):
        return task["result"], "result"
    if isinstance(task.get("data"), dict):
        answers = [(name, task[name]) for name in _ANSWERS if isinstance(task.get(name), list)]
        filled = [(name, answer) for name, listed in answers for answer in listed if isinstance(answer, dict)]
        for name, answer in filled:
            if isinstance(answer.get("result"), list) and not answer.get("was_cancelled"):
                return answer["result"], name
        return ([], "annotations") if answers else None
    for value in task.values():
        if isinstance(value, list) and value and all(_is_min(item) for item in value):
            return [{"value": item, **item} for item in value], "result"
    return None


def _is_min(item: Any) -> bool:
    return isinstance(item, dict) and any(isinstance(item.get(key), list) for key in _LABELS)


def read(source: Any, *, canvas: Canvas | None = None, image: int | str | None = None) -> Layout:
    """The regions of one task, chosen by `image` (id or file) if there are several.

    Captions are the labels, or the words written for a region; words for the whole picture are the prompt.
    """
    data = parsed(source)
    if isinstance(data, list) and data and _is_result(data[0]):
        results: list[Any] = data
    else:
        tasks = [
            require_object(task, Place("a task")) for task in (data if isinstance(data, list) else [data])
        ]
        task = tasks[chosen_picture([_called(task) for task in tasks], image)]
        results, kind = _results(task) or ([], "annotations")
        answers = sum(len(task[name]) for name in _ANSWERS if isinstance(task.get(name), list))
        if answers > 1:
            warn("first_answer", count=answers, kind=str(kind)[:40])
    note("percent", "xywh")
    canvas = _size(results) or canvas or Canvas()
    words = _words(results)
    contents: list[tuple[Box, str, Mask | None]] = []
    used: set[str] = set()
    left: Counter[str] = Counter()
    for index, result in enumerate(results):
        where = Place(f"result {index + 1}")
        value = require_object(require_object(result, where).get("value") or {}, where.key("value"))
        if other := next((name for name in _NOT_READ if name in (result.get("type"), *value)), None):
            left[other] += 1
            continue
        if "text" in value:
            continue
        identifier = str(result.get("id") or "")
        used.add(identifier)
        area = _area(value, where.key("value"), canvas)
        if area is None:
            kind = str(result.get("type") or "shape")[:40]
            code = "area_not_read" if kind in _PAINTED else "shape_without_area"
            warn(code, number=index + 1, kind=kind)
            continue
        contents.append((area[0], words.get(identifier) or _label(value, where), area[1]))
    for name, count in left.items():
        warn("key_not_read", key=name, count=count)
    prompt = ", ".join(text for identifier, text in words.items() if identifier not in used)
    return Layout(shaped(contents), canvas, prompt)


def _called(task: Mapping[str, Any]) -> tuple[Any, ...]:
    held = task.get("data") if isinstance(task.get("data"), dict) else task
    files = (
        [value for value in held.values() if isinstance(value, str) and value]
        if isinstance(held, dict)
        else []
    )
    return (task.get("id", files[0] if files else None), *files, *(file.rsplit("/", 1)[-1] for file in files))


def _size(results: list[Any]) -> Canvas | None:
    for result in results:
        if isinstance(result, dict) and result.get("original_width") and result.get("original_height"):
            place = Place("the size of the image")
            return canvas_of(result["original_width"], result["original_height"], place)
    return None


def _words(results: list[Any]) -> dict[str, str]:
    """Texts that people wrote, by the region they are about."""
    found: dict[str, str] = {}
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        text = value.get("text") if isinstance(value, dict) else None
        texts = [text] if isinstance(text, str) else text if isinstance(text, list) else []
        if texts and isinstance(result, dict):
            found[str(result.get("id") or "")] = ", ".join(str(part) for part in texts)
    return found


def _label(value: Mapping[str, Any], where: Place) -> str:
    key = next((key for key in _LABELS if isinstance(value.get(key), list)), None)
    labels = value[key] if key else []
    return ", ".join(require_text(label, where) for label in labels)


def _area(value: Mapping[str, Any], where: Place, canvas: Canvas) -> tuple[Box, Mask | None] | None:
    """The box and, where it is another, the outline; None for points and brushes."""
    if isinstance(value.get("points"), list):
        points = [require_numbers(point, 2, where) for point in require_list(value["points"], where)]
        if len(points) < 3 or value.get("closed") is False:
            return None
        return outline([(x / 100, y / 100) for x, y in points], where)
    angle = radians(require_number(value.get("rotation") or 0, where.key("rotation")))
    if "radiusX" in value:
        x, y, across, down = (
            require_number(value.get(key), where.key(key)) / 100 for key in ("x", "y", "radiusX", "radiusY")
        )
        across, down = turned_radii(across, down, angle, canvas.width / canvas.height)
        return Box(x - across, y - down, x + across, y + down), None
    if not all(side in value for side in _SIDES):
        return None
    x, y, width, height = (require_number(value[side], where.key(side)) / 100 for side in _SIDES)
    if not angle:
        return Box(x, y, x + width, y + height), None
    # Turned clockwise about the upper left corner, in pixels.
    ratio = canvas.width / canvas.height
    corners = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
    turned = (
        (
            x + across * cos(angle) - down / ratio * sin(angle),
            y + across * ratio * sin(angle) + down * cos(angle),
        )
        for across, down in corners
    )
    return outline(list(turned), where)
