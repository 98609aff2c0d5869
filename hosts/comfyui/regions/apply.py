"""Drawing a layout's instances without an adapter: what the node Draw Regions does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ....layout import Layout
from ....models.regions import Regions
from ..attention.binder import find_binder
from ..attention.terms import CARRIED, carry
from ..attention.window import check_window, tell_of_ranges
from ..attention.wrappers import bind
from .captions import encode_captions, tell_of_schedule
from .term import NODE, RegionTerm

EVERY = "all"

logger = logging.getLogger("instance_composer")


def draw_regions(
    model: Any,
    clip: Any,
    layout: Layout,
    positive: list[Any],
    strength: float = 1.0,
    prompt: float = 0.0,
    isolate: float = 0.0,
    start: float = 0.0,
    end: float = 1.0,
    layers: str = EVERY,
    tell: Callable[[str], None] = logger.info,
) -> tuple[Any, list[Any]]:
    """MODEL and positive with which the layout's instances are drawn where they are, by their captions.

    `layers` is a preset's name (`layer_presets`): in the others all is as without regions. `tell` hears of
    instances that never act in this window.

    At strength 0, and where there is nothing to draw, both are handed back as they came. Raises
    `ModelMismatchError` for a model that cannot be reached, `LayoutError` for errors of the layout, and
    ValueError where the prompt has regions already; warnings go to the log.
    """
    check_window(start, end, "To draw no regions, set strength to 0.")
    if strength == 0.0:
        return model, positive
    for problem in layout.checked().problems():
        # That only so many instances are placed well holds for the adapter.
        if problem.field != "instances" or not layout.active:
            logger.warning("%s", problem)
    if not layout.active:
        return model, positive
    if unused := [instance.id for instance in layout.active if instance.negative.strip()]:
        logger.warning(
            "%s reads no negative of an instance; those of these have no effect: %s.", NODE, ", ".join(unused)
        )
    binder = find_binder(model)
    _check_once(positive)
    tell_of_schedule(clip)
    captions = encode_captions(clip, layout, positive)
    blocks = binder.text_blocks(model) if layers == EVERY else binder.layers(model, layers)
    regions = Regions.from_layout(layout)
    ranges = [(instance.id, (instance.start, instance.end)) for instance in layout.active]
    tell_of_ranges(NODE, (start, end), ranges, tell)
    _tell_of_isolation(regions, isolate, start)
    term = RegionTerm(captions, regions, strength, prompt, isolate, (start, end), blocks)
    return bind(model), carry(positive, term)


def _tell_of_isolation(regions: Regions, isolate: float, start: float) -> None:
    """Say where nothing is isolated, because no instance acts before isolation is over."""
    acting = [first for (first, _), own in zip(regions.windows, regions.strengths, strict=True) if own > 0]
    begins = max(start, min(acting, default=start))
    if 0 < isolate <= begins:
        logger.warning(
            "isolate has no effect: it ends at %g of the noise schedule, and regions begin to act at %g. Set "
            "it to more than that, or to 0.",
            isolate,
            begins,
        )


def _check_once(positive: list[Any]) -> None:
    carried = (values.get("model_conds", {}).get(CARRIED) for _, values in positive)
    if any(term.node == NODE for terms in carried if terms is not None for term in terms.cond):
        raise ValueError(
            f"This prompt has come through {NODE} before. Put the layouts together with Combine Layouts and "
            "draw them once."
        )
