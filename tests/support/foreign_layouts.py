"""A layout to write in other formats, and checks of what is read from them."""

from __future__ import annotations

import json
from typing import Any

from instance_composer.layout import Box, Canvas, Instance, Layout, formats

CANVAS = Canvas(200, 100)
CAT = Instance("1", Box(0.1, 0.2, 0.5, 0.6), "a red cat")
VASE = Instance("2", Box(0.4, 0.4, 0.9, 0.9), "a blue vase")
PAIR = Layout((CAT, VASE), CANVAS, "a cat beside a vase")


def contents(layout: Layout) -> list[tuple[str, tuple[float, ...]]]:
    return [(item.caption, tuple(round(value, 6) for value in item.box)) for item in layout.instances]


def same(read: Layout, written: Layout, tolerance: float) -> bool:
    """The same prompt, captions and boxes, these within a fraction of the canvas."""
    pairs = list(zip(read.instances, written.instances, strict=True))
    return read.prompt == written.prompt and all(
        one.caption == other.caption
        and all(abs(a - b) <= tolerance for a, b in zip(one.box, other.box, strict=True))
        for one, other in pairs
    )


def check_reading(
    name: str, source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    """The source, as text and as values, is of the format of that name and holds what is expected."""
    text = source if isinstance(source, str) else json.dumps(source)
    assert formats.detect(text) == name
    layout = formats.read(text, canvas=canvas).checked()
    assert layout.prompt == prompt
    assert contents(layout) == [
        (caption, tuple(round(value, 6) for value in box)) for caption, box in expected
    ]
    if not isinstance(source, str):
        assert formats.find(name).read(source, canvas=canvas) == layout
