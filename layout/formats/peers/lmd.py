"""LLM-grounded diffusion's layouts: "Objects: [('a cat', [x, y, w, h])]", a background prompt. Read only."""

from __future__ import annotations

import re
from typing import Any

from ...box import Box
from ...document import Layout
from ...instance import Canvas
from ...json_text import decode
from ...problems import fault
from ..found_json import parsed
from ..notes import note, warn
from ..shared import Place, numbered, require_list, require_numbers, require_text

# The size its prompt tells the language model.
RESOLUTION = 512
_KEY = re.compile(r"^[ \t]*(objects|background prompt|negative prompt)[ \t]*:", re.IGNORECASE | re.MULTILINE)


def recognises_text(text: str) -> bool:
    return "background prompt" in _sections(text)


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Boxes as left, top, width, height in pixels of `canvas`, 512 × 512 unless given."""
    text = decode(source)
    sections, answers = _sections(text), _answers(list(_KEY.finditer(text)))
    if len(answers) > 1:
        warn("omost_several", count=len(answers))
    canvas = canvas or Canvas(RESOLUTION, RESOLUTION)
    note("pixel", "xywh")
    listed = sections.get("objects") or sections.get("", "")
    contents = []
    for index, entry in enumerate(require_list(parsed(listed), Place("objects"))):
        where = Place(f"object {index + 1}")
        pair = require_list(entry, where)
        if len(pair) != 2:
            raise fault("need_entry", where=where.words, value=repr(entry)[:60])
        pixels = require_numbers(pair[1], 4, where)
        contents.append(
            (Box.from_pixels(pixels, canvas.width, canvas.height), require_text(pair[0], where), None, {})
        )
    negative = sections.get("negative prompt", "").strip()
    prompt = sections.get("background prompt", "").strip()
    return Layout(numbered(contents), canvas, prompt, "" if negative.lower() == "none" else negative)


def _answers(keys: list[re.Match[str]]) -> list[int]:
    """Where among the keys an answer begins; a prompt with examples holds several."""
    return [place for place, key in enumerate(keys) if key[1].lower() == "objects"]


def _sections(text: str) -> dict[str, str]:
    """The text after each of the three keys, of several answers in the last; under "" what stands before."""
    keys = list(_KEY.finditer(text))
    if answers := _answers(keys):
        del keys[: answers[-1]]
    ends = [*(key.start() for key in keys[1:]), len(text)]
    before = text[: keys[0].start()] if keys else text
    named = {key[1].lower(): text[key.end() : end] for key, end in zip(keys, ends, strict=False)}
    return {"": before, **named}
