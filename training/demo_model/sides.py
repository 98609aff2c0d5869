"""Captions that say on which side of the picture's middle its only thing is: relations at their simplest.

Of two things a relation says nothing without both of them. Of one thing it says where that is, whatever it
is, and that carries over. The world's own captions have no middle.
"""

from __future__ import annotations

from typing import Any

from ...shapes_world.relations import OPPOSITES, relation_of

MIDDLE = "the middle"


def sided(document: dict[str, Any], turned: bool) -> str:
    """The caption of a layout document with one thing, saying its side of the middle if it is on one.

    "a red circle left of the middle on grey" or, `turned`, "the middle right of a red circle on grey".
    """
    prompt = document["prompt"]
    if len(document["instances"]) != 1:
        return prompt
    (thing,) = document["instances"]
    x0, y0, x1, y1 = thing["box"]
    relation = relation_of(((x0 + x1) / 2, (y0 + y1) / 2), (0.5, 0.5))
    if not relation:
        return prompt
    said = (
        f"{MIDDLE} {OPPOSITES[relation]} {thing['caption']}"
        if turned
        else f"{thing['caption']} {relation} {MIDDLE}"
    )
    return prompt.replace(thing["caption"], said, 1)
