"""Our own document."""

from __future__ import annotations

from typing import Any

from ..document import Layout
from ..instance import Canvas
from .found_json import strictly_parsed
from .notes import note


def recognises(data: Any) -> bool:
    return isinstance(data, dict) and "version" in data and "instances" in data


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """A layout document (text or parsed); it has a canvas of its own, so `canvas` is not used.

    Nothing in it is mended: the editor reads it as strictly.
    """
    note("fraction", "xyxy")
    return Layout.from_dict(strictly_parsed(source))


def write(layout: Layout) -> str:
    return layout.to_json()
