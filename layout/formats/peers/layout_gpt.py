"""LayoutGPT's layouts: lines "object {width: 20px; height: 30px; left: 5px; top: 10px; }". Read only."""

from __future__ import annotations

import re
from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...json_text import decode
from ...problems import text_fault
from ..notes import note
from ..shared import numbered, require_canvas

# The size its prompt tells the language model.
RESOLUTION = 64
_SIDES = ("left", "top", "width", "height")
_RULE = re.compile(r"^([^\n{}]*)\{([^\n{}]*)\}", re.MULTILINE)
_SIDE = re.compile(r"\b(left|top|width|height)[ \t]*:[ \t]*(-?[0-9]{1,20}(?:\.[0-9]{1,20})?)[ \t]*(px|%)?")
_PROMPT = re.compile(r"^[ \t]*prompt[ \t]*:(.*)$", re.IGNORECASE | re.MULTILINE)
_MARK = re.compile(r"^\s*(?:[-*•]|[0-9]{1,4}[.)])\s+|^\s*layout[ \t]*:", re.IGNORECASE)


def recognises_text(text: str) -> bool:
    return any(set(_SIDES) == {side[1] for side in _SIDE.finditer(rule[2])} for rule in _RULE.finditer(text))


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Boxes in percent, or pixels: of the model's own 64 × 64 where all lie on that, else of `canvas`."""
    text = decode(source)
    contents: list[tuple[str, list[float], bool]] = []
    rules = list(_RULE.finditer(text))
    begun = {rule.start(2) for rule in rules}
    # A rule that ends early is none, and would be missing in silence.
    if broken := next((sign for sign in re.finditer(r"\{", text) if sign.end() not in begun), None):
        raise text_fault("rule_sides", text, broken.end())
    for rule in rules:
        sides = {side[1]: side for side in _SIDE.finditer(rule[2])}
        if len(sides) < len(_SIDES):
            raise text_fault("rule_sides", text, rule.start(2))
        found = [sides[name] for name in _SIDES]
        percent = {side[3] == "%" for side in found}
        if len(percent) > 1:
            raise text_fault("rule_units", text, rule.start(2))
        contents.append(
            (_MARK.sub("", rule[1]).strip().rstrip(":"), [float(side[2]) for side in found], percent.pop())
        )
    pixels = [numbers for _, numbers, percent in contents if not percent]
    own = all(
        left + width <= RESOLUTION and top + height <= RESOLUTION for left, top, width, height in pixels
    )
    size = Canvas(RESOLUTION, RESOLUTION) if own else require_canvas(canvas, "the boxes")
    units = ["percent"] if len(pixels) < len(contents) else []
    units += [f"pixel of {size.width} × {size.height}"] if pixels else []
    note(" and ".join(units), "xywh")
    prompt = _PROMPT.search(text)
    return Layout(
        numbered(
            (
                Box.from_pixels(numbers, *((100, 100) if percent else (size.width, size.height))),
                caption,
                None,
                {},
            )
            for caption, numbers, percent in contents
        ),
        canvas or Canvas(),
        prompt[1].strip() if prompt else "",
    )
