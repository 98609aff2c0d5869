"""Entities of a prompt (ENTITIES) and their tokens in the CONDITIONING that ComfyUI makes of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ....layout import Layout
from ....models.entities.captions import named_entities
from ....models.entities.extraction import EntityTokens, locate_entities
from ....models.entities.matching import match_entities
from ....models.entities.pipelines import DEFAULT_PIPELINE
from ....models.entities.plurals import singular_forms
from ....models.entities.prompt_reading import read_phrases
from .text_axis import token_spans

__all__ = ["EntityTokens", "PromptEntities", "describe", "find_prompt_entities"]

logger = logging.getLogger("instance_composer")

HEADER = ("noun", "words", "tokens", "remark")


@dataclass(frozen=True)
class PromptEntities:
    """Value of an ENTITIES socket.

    `prompt`: the plain text, without weights and embeddings, that the spans of entities refer to. Tokens are
    indices into the text axis of the CONDITIONING that the CLIP makes of the prompt as written.
    `left_out`: parts that are syntax of other programs, of which no entity is made.
    """

    prompt: str
    entities: tuple[EntityTokens, ...]
    left_out: tuple[str, ...] = ()


def find_prompt_entities(
    clip: Any,
    prompt: str,
    pipeline: str = DEFAULT_PIPELINE,
    *,
    layout: Layout | None = None,
    ignored: Iterable[str] = (),
) -> PromptEntities:
    """The entities of a prompt as the CLIP reads it; nouns to be ignored, singular or plural, are left out.

    What a caption of the layout is about has a region: the stop list does not count for its noun. Where the
    prompt says a caption's words, the caption tells which of them is the noun. A word without a token is
    logged. Raises `PromptSyntaxError`, `PipelineError`, `UnknownEncoderError`.
    """
    plain, spans = token_spans(clip, prompt)
    captions = [instance.caption for instance in layout.active] if layout else []
    named = named_entities(plain.text, captions, pipeline)
    unwanted = {form for noun in ignored for form in singular_forms(noun.strip().lower())}
    entities = locate_entities((one for one in named if unwanted.isdisjoint(singular_forms(one.noun))), spans)
    for one in entities:
        if one.missing:
            logger.warning("%s: no token of the prompt is that of %s.", one.entity.text, _missing(one))
    return PromptEntities(plain.text, entities, read_phrases(plain.text).left_out)


def describe(found: PromptEntities, layout: Layout | None = None) -> str:
    """A table for people: nouns, their words and tokens, and the instance they match in a layout."""
    notes = [f"not words, but encoded as if they were: {', '.join(found.left_out)}"] if found.left_out else []
    if not found.entities:
        return "\n".join(["No entities: the pipeline finds no noun in this prompt.", *notes])
    places = match_entities([one.entity for one in found.entities], layout) if layout else {}
    rows: list[tuple[str, ...]] = [HEADER]
    for index, one in enumerate(found.entities):
        remarks: list[str] = []
        if not one.entity.localisable:
            remarks.append("no region: on the stop list")
        if one.missing:
            remarks.append(f"no token: {_missing(one)}" if one.tokens else "not among the tokens")
        if layout and index in places:
            remarks.append(f"instance {layout.instances[places[index]].id}")
        number = f" {one.entity.number}" if one.entity.number > 1 else ""
        words = " ".join(word.text for word in one.entity.words)
        rows.append((one.entity.noun + number, words, _ranges(one.tokens), "; ".join(remarks)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join([*(line.rstrip() for line in lines), *notes])


def _missing(one: EntityTokens) -> str:
    return ", ".join(word.text for word in one.missing)


def _ranges(tokens: tuple[int, ...]) -> str:
    """Ascending numbers, neighbours as a range: 2-4, 7."""
    parts: list[list[int]] = []
    for token in tokens:
        if parts and token == parts[-1][-1] + 1:
            parts[-1].append(token)
        else:
            parts.append([token])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
