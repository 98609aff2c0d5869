"""What a layout says of its instances and a method does not hear: told, since no picture shows it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from ....layout import Instance

MASKS, STRENGTHS, PARTS, NEGATIVES = "masks", "strengths", "parts of the run", "negatives"
# Whether an instance says more than a box and a caption, by kind.
_SAYS: Mapping[str, Callable[[Instance], bool]] = {
    MASKS: lambda one: one.mask is not None,
    STRENGTHS: lambda one: one.strength != 1.0,
    PARTS: lambda one: (one.start, one.end) != (0.0, 1.0),
    NEGATIVES: lambda one: bool(one.negative.strip()),
}

logger = logging.getLogger("instance_composer")


def tell_unheard(method: str, instances: Sequence[Instance], heard: Sequence[str] = ()) -> None:
    """Warn of instances that say what a method, called so, does not hear: all kinds but those `heard`."""
    unheard = [kind for kind in _SAYS if kind not in heard]
    if ids := [one.id for one in instances if any(_SAYS[kind](one) for kind in unheard)]:
        logger.warning(
            "%s hears %s alone; %s of these have no effect: %s.",
            method,
            _listed(["boxes", "captions", *heard]),
            _listed(unheard),
            ", ".join(ids),
        )


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
