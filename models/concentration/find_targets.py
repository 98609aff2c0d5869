"""Targets of a prompt's entities: the region that each one's attention should gather in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...layout import Layout
from ..entities.extraction import EntityTokens
from ..entities.matching import match_entities, read_overrides
from ..regions import COVERED, Regions
from .targets import NOWHERE, Targets

# Treatments of an entity that has no region: where its noun's map is hot, no attention anywhere, untouched.
OWN_MAP, NOWHERE_AT_ALL, LEFT_ALONE = "own map", "nowhere", "leave alone"
WITHOUT_REGION = (OWN_MAP, NOWHERE_AT_ALL, LEFT_ALONE)

logger = logging.getLogger("instance_composer")

Warn = Callable[[str], object]


def find_targets(
    entities: Sequence[EntityTokens],
    layout: Layout | None = None,
    masks: Tensor | None = None,
    overrides: str = "",
    without_region: str = OWN_MAP,
    warn: Warn = logger.warning,
) -> Targets | None:
    """The entities to concentrate with their regions; None if there are none.

    Regions come from `masks` (N, H, W), the first for the first entity that can have a place and so on, then
    from the instances of `layout` that the words or `overrides` (see `read_overrides`) name. `warn` is called
    with a sentence if there are masks for which there is no entity, and for words that have no token; without
    one the log tells.
    """
    names = [each.entity for each in entities]
    layout = (layout or Layout(())).checked()
    matched = match_entities(names, layout, read_overrides(overrides, names, layout))
    given = _masks_of_entities(entities, masks, warn)
    placed = given.keys() | matched.keys()
    chosen = [
        index
        for index, each in enumerate(entities)
        if each.tokens
        and (index in placed or (each.entity.localisable and without_region != LEFT_ALONE))
        # The noun's own map is the region.
        and (index in placed or each.noun_tokens or without_region != OWN_MAP)
    ]
    _tell_what_has_no_token(entities, chosen, warn)
    if not chosen:
        return None
    parts = [_region(given.get(index), layout, matched.get(index)) for index in chosen]
    return Targets(
        groups=tuple(entities[index].tokens for index in chosen),
        nouns=tuple(entities[index].noun_tokens for index in chosen),
        regions=Regions(
            tuple(part.boxes[0] for part in parts),
            tuple(part.masks[0] for part in parts),
            tuple(part.strengths[0] for part in parts),
            tuple(part.windows[0] for part in parts),
        ),
        self_derived=tuple(
            without_region == OWN_MAP and index not in given and index not in matched for index in chosen
        ),
    )


def _tell_what_has_no_token(entities: Sequence[EntityTokens], chosen: Sequence[int], warn: Warn) -> None:
    for index, each in enumerate(entities):
        if each.missing and each.entity.localisable:
            words = ", ".join(word.text for word in each.missing)
            rest = "the other words count alone" if index in chosen else "the entity is left alone"
            warn(f"{each.entity.text}: no token of the prompt is that of {words}; {rest}.")


def _masks_of_entities(
    entities: Sequence[EntityTokens], masks: Tensor | None, warn: Warn
) -> dict[int, Tensor]:
    if masks is None:
        return {}
    with_place = [index for index, each in enumerate(entities) if each.entity.localisable]
    masks = masks.reshape(-1, *masks.shape[-2:]) >= COVERED
    if (unused := len(masks) - len(with_place)) > 0:
        warn(f"There are {len(masks)} masks for {len(with_place)} entities; the last {unused} are not used.")
    return dict(zip(with_place, masks.cpu(), strict=False))


def _region(mask: Tensor | None, layout: Layout, instance: int | None) -> Regions:
    """The region of one entity, `NOWHERE` if it has none."""
    if mask is not None:
        plain = Regions.of_boxes([(0.0, 0.0, 1.0, 1.0)])
        return replace(plain, masks=(mask.to(torch.bool),))
    if instance is None:
        return Regions.of_boxes([NOWHERE])
    found = layout.instances[instance]
    # An override may name an instance that is switched off; it was named to be used.
    found = replace(found, enabled=True, caption=found.caption.strip() or found.id)
    return Regions.from_layout(replace(layout, instances=(found,)))
