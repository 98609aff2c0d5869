"""Attribute concentration applied: entities and their regions become a term on the conditioning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.model_base
from torch import Tensor

from ....layout import Layout
from ....models.concentration import LocalGuidance, Targets
from ....models.concentration.energy import ConcentrationObjective, Objective
from ....models.concentration.find_targets import OWN_MAP, WITHOUT_REGION, find_targets
from ....models.entities.extraction import EntityTokens
from ..attention.binder import find_binder
from ..attention.errors import ModelMismatchError
from ..attention.layer_call import Block
from ..attention.silhouettes import Growing, check_since
from ..attention.terms import Term, carry
from ..attention.text import is_zero
from ..attention.window import check_window, tell_of_ranges
from ..attention.wrappers import bind
from .latent import LatentTerm
from .local import NODE, LocalTerm, check_tokens

MODES = ("local", "latent")

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
    silhouettes_from: float = 0.0


def apply_concentration(
    model: Any,
    conditioning: list[Any],
    entities: Sequence[EntityTokens],
    settings: Concentration,
    layout: Layout | None = None,
    masks: Tensor | None = None,
    overrides: str = "",
    tell: Callable[[str], None] = logger.info,
) -> tuple[Any, list[Any]]:
    """MODEL and CONDITIONING in which the attention of each entity's words gathers in its region.

    `find_targets` says which regions those are; `settings` say what happens to entities without one. Without
    anything to concentrate, at strength 0 or without weights both are handed back as they came. `tell` hears
    of silhouettes, and of entities that never act in this window. Source: the energy of CoMat (arXiv
    2404.03653), followed while sampling.
    """
    check_window(settings.start, settings.end, "To concentrate nothing, set strength to 0.")
    _check_choices(settings)
    if not settings.strength or not (settings.token_weight or settings.pixel_weight):
        return model, conditioning
    window = (settings.start, settings.end)
    check_since(settings.silhouettes_from, window)
    targets = find_targets(entities, layout, masks, overrides, settings.without_region, logger.warning)
    if targets is None:
        logger.warning("No entity to concentrate was found in the prompt; the picture is sampled as without.")
        return model, conditioning
    binder = find_binder(model)
    if settings.mode == "latent" and not isinstance(model.model, comfy.model_base.SDXL):
        raise ModelMismatchError(
            f"This MODEL is {type(model.model.model_config).__name__}, and the mode latent moves pictures of "
            "SDXL alone. Choose the mode local."
        )
    for text, values in conditioning:
        check_tokens(targets, binder.tokens(text, values, model.model_options))
    if _has_several_prompts(conditioning):
        logger.warning(
            "%s: prompts with different texts were combined before this node. The words of the entities are "
            "moved in all of them, at the same places, where other prompts may have other words. Connect the "
            "prompt of the entities alone, and combine the others behind this node.",
            NODE,
        )
    names = _names(entities, targets)
    tell = tell_of_ranges(NODE, window, zip(names, targets.regions.windows, strict=True), tell)
    growing = Growing(settings.silhouettes_from, names, tell) if settings.silhouettes_from else None
    term = _term(targets, settings, binder.layers(model, settings.layers), growing)
    return bind(model), carry(conditioning, term)


def _has_several_prompts(conditioning: list[Any]) -> bool:
    """Whether entries have different texts, other than one text under a CLIP that changes during the run."""
    texts: dict[Any, Tensor] = {}
    for text, values in conditioning:
        if is_zero(text):
            continue
        other = texts.setdefault(values.get("clip_start_percent"), text)
        if other is not text and not (other.shape == text.shape and bool((other == text).all())):
            return True
    return None in texts and len(texts) > 1


def _names(entities: Sequence[EntityTokens], targets: Targets) -> tuple[str, ...]:
    """Words of the targets' entities, in their order."""
    words = {each.tokens: each.entity.text for each in entities}
    return tuple(words[group] for group in targets.groups)


def _term(
    targets: Targets, settings: Concentration, layers: tuple[Block, ...], growing: Growing | None
) -> Term:
    window = (settings.start, settings.end)
    weights = (settings.token_weight, settings.pixel_weight)
    if settings.mode == "latent":
        objective = partial(_objective, weights=weights)
        return LatentTerm(targets, objective, settings.strength, layers, window, growing=growing)
    guidance = LocalGuidance(*weights, settings.strength, settings.inner_steps)
    return LocalTerm(targets, guidance, layers, window, growing=growing)


def _objective(targets: Targets, weights: tuple[float, float]) -> Objective:
    return ConcentrationObjective(targets, *weights)


def _check_choices(settings: Concentration) -> None:
    for name, value, allowed in (
        ("mode", settings.mode, MODES),
        ("without_region", settings.without_region, WITHOUT_REGION),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
