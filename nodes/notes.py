"""What a node tells the page of the layout that it was given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..hosts.comfyui.server.telling import tell
from ..layout import Layout


def noted(layout: Layout | None, strength: float) -> dict[str, list[str]]:
    """The ui value from which the page reads problems, to say them in its own language as Python finds them.

    Empty where nothing is worth a look, and where the strength of 0 lets the layout alone.
    """
    if layout is None or not strength or not layout.problems():
        return {"instance_layout_noted": [""]}
    return {"instance_layout_noted": [layout.to_json()]}


def told_on(node: Any) -> Callable[[str], None]:
    """What says a sentence on a node that asks for its `unique_id`, after it has run."""
    return partial(tell, getattr(getattr(node, "hidden", None), "unique_id", None))
