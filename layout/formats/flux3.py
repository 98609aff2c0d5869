"""FLUX 3 prompts: a caption that cites its elements, and behind it the table that says where they are.

"A cat <obj_1> beside a vase <obj_2> [{"id": "obj_1", "bbox": [ymin, xmin, ymax, xmax], "desc": "..."}, ...]",
the grid 0 to 1000. Source: the prompts that the model's own upsampler writes (diffusers, modular pipeline
flux3); `obj_N` as ComfyUI's node for these prompts numbers.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas
from ..json_text import decode
from ..problems import text_fault
from .found_json import parsed
from .notes import note
from .shared import (
    Place,
    blank,
    exported,
    given,
    grid_box,
    numbered,
    on_canvas,
    require_list,
    require_numbers,
    require_object,
    require_text,
)

GRID = 1000
_KEYS = {"id", "bbox", "desc"}
# The table's beginning, after a caption or alone.
_TABLE = re.compile(r"(?:^|\s)(?=\[(?:\s*\{\s*\"id\"|\]\s*$))")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*_[0-9]+")
# A caption may look like a table; later beginnings than this are not tried.
_MOST_STARTS = 20


def recognises(data: Any) -> bool:
    """Whether values are a table alone."""
    return isinstance(data, list) and bool(data) and all(_is_row(row) for row in data)


def _is_row(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != _KEYS:
        return False
    return isinstance(value["id"], str) and bool(_ID.fullmatch(value["id"]))


def recognises_text(text: str) -> bool:
    """Whether a text is a caption with a table behind it."""
    start = _start(text)
    return bool(start and text[:start].strip()) and text.rstrip().endswith("]")


def _start(text: str) -> int | None:
    """Where the table begins: the first beginning from which all is JSON, else the first."""
    starts = [found.end() for found, _ in zip(_TABLE.finditer(text), range(_MOST_STARTS), strict=False)]
    for start in starts:
        try:
            json.loads(text[start:])
        except (ValueError, RecursionError):
            continue
        return start
    return starts[0] if starts else None


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """A whole prompt, or its table alone; the grid has no size, so 1024 × 1024 unless given.

    Citations are taken out of the caption. Ids and rows for editing (with `from`) are not kept.
    """
    caption, data = "", source
    if isinstance(source, (str, bytes)):
        text = decode(source)
        start = _start(text)
        if start is None:
            raise text_fault("no_table", text, len(text) - len(text.lstrip()))
        # Blanks in the caption's place keep the places of errors.
        caption, data = text[:start], blank(text[:start]) + text[start:]
    rows = require_list(parsed(data), Place("the table"))
    note("grid1000", "yxyx")
    found = [_row(row, Place(f"element {n}", (n - 1,))) for n, row in enumerate(rows, 1)]
    for name, *_ in found:
        caption = re.sub(rf" ?<{re.escape(name)}>", "", caption)
    contents = ((box, text, None, {}) for _, box, text in found)
    return Layout(numbered(contents), canvas or Canvas(), " ".join(caption.split()))


def _row(value: Any, where: Place) -> tuple[str, Box, str]:
    value = require_object(value, where)
    top, left, bottom, right = require_numbers(value.get("bbox"), 4, where.key("bbox"))
    box = Box(left / GRID, top / GRID, right / GRID, bottom / GRID)
    name, caption = (require_text(given(value, key), where.key(key)) for key in ("id", "desc"))
    return name, box, caption


def write(layout: Layout) -> str:
    """The layout's prompt with every enabled instance cited, and the table, in one line.

    An instance is cited behind its caption where the prompt has it, else at the end.
    """
    prompt = " ".join(layout.prompt.split())
    rows: list[dict[str, Any]] = []
    cited: list[tuple[int, str]] = []
    for number, item in enumerate(exported(layout), 1):
        name = f"obj_{number}"
        left, top, right, bottom = grid_box(on_canvas(item.bounds), GRID, GRID)
        rows.append({"id": name, "bbox": [top, left, bottom, right], "desc": item.caption})
        words = re.escape(" ".join(item.caption.split()))
        taken = {place for place, _ in cited}
        mentions = re.finditer(rf"(?<!\w){words}(?!\w)", prompt, re.IGNORECASE) if words else ()
        place = next((one.end() for one in mentions if one.end() not in taken), len(prompt))
        cited.append((place, f" <{name}>"))
    # From the end, so that the places before stay; at one place the last comes first to stand behind.
    for _, (place, citation) in sorted(enumerate(cited), key=lambda one: (one[1][0], one[0]), reverse=True):
        prompt = prompt[:place] + citation + prompt[place:]
    return f"{prompt} {json.dumps(rows, ensure_ascii=False)}".strip() + "\n"
