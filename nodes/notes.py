"""What a node tells the page of the layout that it was given."""

from __future__ import annotations

from ..layout import Layout


def noted(layout: Layout | None, strength: float) -> dict[str, list[str]]:
    """The ui value from which the page reads problems, to say them in its own language as Python finds them.

    Empty where nothing is worth a look, and where the strength of 0 lets the layout alone.
    """
    if layout is None or not strength or not layout.problems():
        return {"instance_layout_noted": [""]}
    return {"instance_layout_noted": [layout.to_json()]}
