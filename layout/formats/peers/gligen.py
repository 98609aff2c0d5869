"""GLIGEN's input: "phrases" and as many boxes in fractions. Read only."""

from __future__ import annotations

from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...problems import fault
from ..found_json import parsed
from ..notes import note
from ..shared import Place, given, numbered, require_list, require_numbers, require_object, require_text

_PHRASES = ("phrases", "gligen_phrases")
_BOXES = ("locations", "gligen_boxes", "boxes")


def recognises(data: Any) -> bool:
    return isinstance(data, dict) and all(
        any(isinstance(data.get(key), list) for key in keys) for keys in (_PHRASES, _BOXES)
    )


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Boxes as left, top, right, bottom in fractions; "prompt" and "negative_prompt" are of the whole."""
    data = require_object(parsed(source), Place("a GLIGEN input"))
    note("fraction", "xyxy")
    names = [next((key for key in keys if key in data), keys[0]) for keys in (_PHRASES, _BOXES)]
    phrases, boxes = (require_list(data.get(name), Place(name, (name,))) for name in names)
    if len(phrases) != len(boxes):
        one, other = names
        raise fault("need_equal", one=one, first=len(phrases), other=other, second=len(boxes))
    contents = []
    for index, (phrase, box) in enumerate(zip(phrases, boxes, strict=True)):
        corners = require_numbers(box, 4, Place(f"box {index + 1}", (names[1], index)))
        caption = require_text(phrase, Place(f"phrase {index + 1}", (names[0], index)))
        contents.append((Box(*corners), caption, None, {}))
    prompt, negative = (
        require_text(given(data, key), Place(key, (key,))) for key in ("prompt", "negative_prompt")
    )
    return Layout(numbered(contents), canvas or Canvas(), prompt, negative)
