"""What models read in their prompts and nobody gives back: layouts that are written and never read.

FIBO 2: a caption in JSON whose keys are those of its pipeline in diffusers; words say where things are.
Qwen: the list of boxes that its vision models take and give, `bbox_2d` in xyxy on a grid of 1000.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..box import Box
from ..document import Layout
from .shared import exported, grid_box, metadata_of, on_canvas

GRID = 1000
_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")


@dataclass(frozen=True)
class Export:
    """One format that is only written: its name and `write`."""

    name: str
    title: str
    write: Callable[[Layout], Any]


def write_fibo2(layout: Layout) -> str:
    """The prompt, and every enabled instance with its place in words; what texts show comes apart."""
    caption: dict[str, Any] = {"short_description": layout.prompt}
    texts: list[dict[str, str]] = []
    objects: list[dict[str, str]] = []
    for item in exported(layout):
        location = _place(on_canvas(item.bounds))
        objects.append({"description": item.caption, "location": location})
        if words := metadata_of(item)["text"]:
            texts.append({"text": words, "location": location})
    caption |= {"objects": objects}
    if texts:
        caption["text_render"] = texts
    # Compact, as the model was trained.
    return json.dumps(caption, separators=(",", ":"), ensure_ascii=False) + "\n"


def _place(box: Box) -> str:
    """The third of the picture, across and down, in which the middle of a box is."""
    across, down = (min(int(3 * (one + other) / 2), 2) for one, other in ((box.x0, box.x1), (box.y0, box.y1)))
    return f"{_ROWS[down]} {_COLUMNS[across]}".strip() or "center"


def write_qwen(layout: Layout) -> str:
    """Boxes with labels, one for every enabled instance."""
    rows = [
        {"bbox_2d": list(grid_box(on_canvas(item.bounds), GRID, GRID)), "label": item.caption}
        for item in exported(layout)
    ]
    return json.dumps(rows, ensure_ascii=False) + "\n"


EXPORTS: Mapping[str, Export] = {
    entry.name: entry
    for entry in (
        Export("fibo2", "FIBO 2 caption", write_fibo2),
        Export("qwen", "Qwen boxes", write_qwen),
    )
}
