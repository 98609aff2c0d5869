"""Prompts and models as a part of the picture sees them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ....models.regions import Rectangle
from ..attention.run_cache import RunCache
from ..attention.silhouettes import Growing, GrowingTerm
from ..attention.terms import CARRIED, CarriedTerms, StepTerm, Term
from ..attention.text import Text
from ..attention.window import Sampling, Window
from ..ifadapter.term import InstanceTerm

logger = logging.getLogger("instance_composer")

# What places a prompt in the picture by itself: seen from a part of it, it would lie elsewhere.
_PLACED = {"area": "an area", "mask": "a mask"}
_FITTED = {"control": "ControlNet", "gligen": "GLIGEN"}
# Of inpainting models: made of the whole picture. ComfyUI makes them anew of the part.
_OF_THE_PICTURE = ("concat_latent_image", "concat_mask")
# Patches on features, which know no place: FreeU and the like.
_PLACELESS = (
    "input_block_patch",
    "input_block_patch_after_skip",
    "middle_block_after_patch",
    "output_block_patch",
    "emb_patch",
    "forward_timestep_embed_patch",
)


@dataclass(frozen=True, eq=False)
class SeenTerm:
    """A term of the whole picture, for a latent that is a part of it."""

    term: Term
    rectangle: Rectangle
    cache: RunCache = field(repr=False)

    @property
    def node(self) -> str:
        return self.term.node

    @property
    def window(self) -> Window:
        return self.term.window

    def on_zeros(self) -> SeenTerm:
        return replace(self, term=self.term.on_zeros())

    def at(self, sigma: float, sampling: Sampling, text: Text) -> StepTerm | None:
        step = self.term.at(sigma, sampling, text)
        return None if step is None else step.crop(self.rectangle, self.cache)


def conditioning_seen_from(
    conditioning: list[Any],
    rectangle: Rectangle,
    cache: RunCache,
    tell: Callable[[str], None] = logger.info,
) -> tuple[list[Any], set[str]]:
    """A CONDITIONING for a part of the picture, and what of it had to be left out, in words.

    What our nodes placed is seen from there. Entries with an area or a mask are left out, ControlNet and
    GLIGEN are taken off the others: both say where they act in ways that fit the whole picture alone.
    `tell` hears of its silhouettes, which are none of the picture's. ValueError if no entry is left.
    """
    left_out: set[str] = set()
    entries: list[Any] = []
    for text, values in conditioning:
        placed = _named(_PLACED, values)
        if placed:
            left_out.update(f"prompts with {name}" for name in placed)
            continue
        left_out.update(_named(_FITTED, values))
        dropped = (*_FITTED, "control_apply_to_uncond", *_OF_THE_PICTURE)
        kept = {name: value for name, value in values.items() if name not in dropped}
        entries.append([text, _with_terms(kept, rectangle, cache, tell)])
    if not entries:
        raise ValueError(
            "Every part of this prompt has an area or a mask, which fit the whole picture alone; Repair "
            "Instance draws a part of it. Connect a prompt without them: the whole one, or that of Apply "
            "IFAdapter or Draw Regions."
        )
    return entries, left_out


def of_the_whole_picture(model: Any) -> list[str]:
    """Names of patches that other nodes put on a MODEL, which may know places of the whole picture."""
    options = model.model_options.get("transformer_options", {})
    replaced = (f"{name} replaced" for name, patches in options.get("patches_replace", {}).items() if patches)
    patched = (name for name, patches in options.get("patches", {}).items() if patches)
    return sorted({*replaced, *patched} - {*_PLACELESS})


def _named(names: dict[str, str], values: Any) -> Iterable[str]:
    return [word for name, word in names.items() if values.get(name) is not None]


def _with_terms(
    values: dict[str, Any], rectangle: Rectangle, cache: RunCache, tell: Callable[[str], None]
) -> dict[str, Any]:
    others = values.get("model_conds", {})
    if CARRIED not in others:
        return values
    seen = (_seen(term, rectangle, cache, tell) for term in others[CARRIED].cond)
    terms = tuple(term for term in seen if term is not None)
    kept = {name: value for name, value in others.items() if name != CARRIED}
    return {**values, "model_conds": {**kept, CARRIED: CarriedTerms(terms)} if terms else kept}


def _seen(term: Term, rectangle: Rectangle, cache: RunCache, tell: Callable[[str], None]) -> Term | None:
    """The term seen from there; None where nothing of it is in sight."""

    def growing(own: Growing) -> Growing:
        # The same for every prompt of the window: they share their silhouettes.
        return cache.get((own, "of the window"), lambda: replace(own, tell=tell))

    # A term that can be made for the part by itself knows more of it than one that is cropped.
    if isinstance(term, InstanceTerm) and term.place_in is not None:
        part = term.in_part(rectangle, cache)
        if part is None or part.captions is None:
            return part
        read = part.captions
        made = cache.get((read, "of the window"), lambda: replace(read, growing=growing(read.growing)))
        return replace(part, captions=made)
    if isinstance(term, GrowingTerm) and term.growing is not None:
        term = term.with_growing(growing(term.growing))
    return SeenTerm(term, rectangle, cache)
