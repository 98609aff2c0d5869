"""MIGC's input: "prompt" with the whole and then each instance, "bboxes" in the same order. Read only."""

from __future__ import annotations

from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...problems import fault
from ..found_json import parsed
from ..notes import note
from ..shared import Place, numbered, require_list, require_numbers, require_object, require_text


def recognises(data: Any) -> bool:
    if not isinstance(data, dict):
        return False
    return all(
        isinstance(data.get(key), list) and data[key] and isinstance(data[key][0], list)
        for key in ("prompt", "bboxes")
    )


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Boxes as left, top, right, bottom in fractions; a batch must hold one picture."""
    data = require_object(parsed(source), Place("an MIGC input"))
    note("fraction", "xyxy")
    prompts, boxes = (_only(data, key) for key in ("prompt", "bboxes"))
    texts = [
        require_text(text, Place(f"prompt {index + 1}", ("prompt", 0, index)))
        for index, text in enumerate(prompts)
    ]
    if len(boxes) != len(texts) - 1:
        raise fault("need_equal", one="bboxes", first=len(boxes), other="prompt", second=len(texts) - 1)
    corners = (
        require_numbers(box, 4, Place(f"box {index + 1}", ("bboxes", 0, index)))
        for index, box in enumerate(boxes)
    )
    contents = ((Box(*box), text, None, {}) for box, text in zip(corners, texts[1:], strict=True))
    return Layout(numbered(contents), canvas or Canvas(), texts[0])


def _only(data: dict[str, Any], key: str) -> list[Any]:
    """The entries of the one picture of a batch."""
    batch = require_list(data.get(key), Place(key, (key,)))
    if len(batch) != 1:
        raise fault("one_picture", (key,), where=key, count=len(batch))
    return require_list(batch[0], Place(key, (key, 0)))
