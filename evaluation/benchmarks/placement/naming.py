"""What the prompt says of a layout's things, while the layout stays: all of them, all but one, none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ....layout import Layout
from ....models.entities.naming import join_captions
from ....shapes_world import join

# In the order of the tables; a point's setting `prompt` counts them from 0.
NAMINGS: Mapping[str, str] = {
    "all": "all",
    "all-but-one": "all but one",
    "none": "none",
    "joined": "all but one, the caption joined",
}
SETTING = "prompt"


def left_out(layout: Layout, number: int) -> int:
    """The index of the thing that the prompt of picture `number` leaves out."""
    return number % len(layout.active)


def say(layout: Layout, background: str, naming: str, number: int) -> Layout:
    """A layout whose prompt names what one of `NAMINGS` says, and the background."""
    if naming == "all":
        return layout
    captions = [one.caption for one in layout.active]
    del captions[left_out(layout, number)]
    some = [] if naming == "none" else captions
    told = replace(layout, prompt=join(some, background) if some else f"on {background}")
    return replace(told, prompt=join_captions(told)) if naming == "joined" else told
