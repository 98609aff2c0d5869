"""Applying attribute concentration: entities and their regions become a term on the conditioning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ....layout import Layout
from ....models.concentration import NOWHERE, LocalGuidance, Targets
from ....models.concentration.energy import ConcentrationObjective, Objective
from ....models.entities.extraction import EntityTokens
from ....models.entities.matching import match_entities, read_overrides
from ....models.regions import Regions
from ..attention.terms import Term, carry
from ..attention.unet.layers import Block
from ..attention.unet.presets import preset_blocks
from ..attention.window import check_window
from ..attention.wrappers import bind
from ..conversions import COVERED
from .latent import LatentTerm
from .local import LocalTerm, check_tokens

MODES = ("local", "latent")
# What happens to an entity that has no region.
OWN_MAP, NOWHERE_AT_ALL, LEFT_ALONE = "own map", "nowhere", "leave alone"
WITHOUT_REGION = (OWN_MAP, NOWHERE_AT_ALL, LEFT_ALONE)

logger = logging.getLogger("instance_composer")


@dataclass(frozen=True)
class Concentration:
    """The settings of the node; see `LocalGuidance` for the weights and the strength."""

    token_weight: float = 1.0
    pixel_weight: float = 1.0
    strength: float = 1.0
    mode: str = "local"
    start: float = 0.0
    end: float = 1.0
    layers: str = "middle and decoder"
    without_region: str = OWN_MAP
    inner_steps: int = 1


def apply_concentration(
    model: Any,
    conditioning: list[Any],
    entities: Sequence[EntityTokens],
    settings: Concentration,
    layout: Layout | None = None,
    masks: Tensor | None = None,
    overrides: str = "",
) -> tuple[Any, list[Any]]:
    """MODEL and CONDITIONING in which the attention of each entity's words gathers in its region.

    Regions come from `masks` (N, H, W), the first for the first entity that can have a place and so on, then
    from the instances of `layout` that the words or `overrides` (see `read_overrides`) name; `settings` say
    what happens to the others. Without anything to concentrate, at strength 0 or without weights both are
    handed back as they came. Source: the energy of CoMat (arXiv 2404.03653), followed while sampling.
    """
    check_window(settings.start, settings.end)
    _check_choices(settings)
    targets = find_targets(entities, layout, masks, overrides, settings.without_region)
    if targets is None:
        logger.warning("No entity to concentrate was found in the prompt; the picture is sampled as without.")
        return model, conditioning
    if not settings.strength or not (settings.token_weight or settings.pixel_weight):
        return model, conditioning
    for text, _ in conditioning:
        check_tokens(targets, text.shape[1])
    return bind(model), carry(conditioning, _term(targets, settings, preset_blocks(model, settings.layers)))


def find_targets(
    entities: Sequence[EntityTokens],
    layout: Layout | None = None,
    masks: Tensor | None = None,
    overrides: str = "",
    without_region: str = OWN_MAP,
) -> Targets | None:
    """The entities to concentrate with their regions; None if there are none."""
    names = [each.entity for each in entities]
    layout = (layout or Layout(())).checked()
    matched = match_entities(names, layout, read_overrides(overrides, names, layout))
    given = _masks_of_entities(entities, masks)
    chosen = [
        index
        for index, each in enumerate(entities)
        if each.tokens
        and (index in given or index in matched or (each.entity.localisable and without_region != LEFT_ALONE))
    ]
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


def _term(targets: Targets, settings: Concentration, layers: tuple[Block, ...]) -> Term:
    window = (settings.start, settings.end)
    weights = (settings.token_weight, settings.pixel_weight)
    if settings.mode == "latent":
        objective = partial(_objective, weights=weights)
        return LatentTerm(targets, objective, settings.strength, layers, window)
    guidance = LocalGuidance(*weights, settings.strength, settings.inner_steps)
    return LocalTerm(targets, guidance, layers, window)


def _objective(targets: Targets, weights: tuple[float, float]) -> Objective:
    return ConcentrationObjective(targets, *weights)


def _masks_of_entities(entities: Sequence[EntityTokens], masks: Tensor | None) -> dict[int, Tensor]:
    if masks is None:
        return {}
    with_place = [index for index, each in enumerate(entities) if each.entity.localisable]
    masks = masks.reshape(-1, *masks.shape[-2:]) >= COVERED
    if len(masks) > len(with_place):
        logger.warning(
            "There are %d masks for %d entities; the last %d are not used.",
            len(masks),
            len(with_place),
            len(masks) - len(with_place),
        )
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


def _check_choices(settings: Concentration) -> None:
    for name, value, allowed in (
        ("mode", settings.mode, MODES),
        ("without_region", settings.without_region, WITHOUT_REGION),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
