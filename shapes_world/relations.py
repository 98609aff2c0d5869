"""Relations between two things: which one their centres are in, and whether one that is said holds.

Points are centres in 0..1 of the picture's sides, y down, so that the margin is the same share of both.
"""

from __future__ import annotations

RELATIONS = ("left of", "right of", "above", "below")
OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
# Centres this far apart, as a share of the side, stand in a relation; less is neither left nor right.
APART = 0.12

Point = tuple[float, float]


def relation_of(a: Point, b: Point) -> str:
    """The relation of a to b along the axis that parts them more; empty when they are too close."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    if max(abs(dx), abs(dy)) < APART:
        return ""
    if abs(dx) > abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"


def holds(relation: str, a: Point, b: Point) -> bool:
    """Whether a stands in the relation to b: at least the margin apart, however far along the other axis."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    return {"left of": dx, "right of": -dx, "above": dy, "below": -dy}[relation] >= APART
