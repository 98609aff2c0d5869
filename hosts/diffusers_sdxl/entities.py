"""Things of a prompt and their tokens, as diffusers' SDXL pipelines read it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTokenizerFast  # pyright: ignore[reportAttributeAccessIssue]

from ...layout import Layout
from ...models.concentration import Targets
from ...models.concentration.find_targets import find_targets
from ...models.entities.captions import named_entities
from ...models.entities.extraction import EntityTokens, locate_entities

logger = logging.getLogger("instance_composer")


@dataclass(frozen=True)
class PromptTokens:
    """The span of the prompt that each token stands for, and the prompt's things.

    Start, end and what pads have the span (0, 0).
    """

    spans: tuple[tuple[int, int], ...]
    entities: tuple[EntityTokens, ...]

    @property
    def words(self) -> tuple[int, ...]:
        """The tokens that stand for text."""
        return tuple(index for index, (start, end) in enumerate(self.spans) if start < end)


def read_prompt(pipeline: StableDiffusionXLPipeline, layout: Layout) -> PromptTokens:
    """The tokens and things of a layout's prompt; captions tell what the prompt's words are about.

    Raises `PipelineError` where spaCy or its English model is missing.
    """
    tokenizer: Any = pipeline.tokenizer
    if not tokenizer.is_fast:
        tokenizer = CLIPTokenizerFast.from_pretrained(tokenizer.name_or_path)
    read = tokenizer(
        layout.prompt,
        truncation=True,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        return_offsets_mapping=True,
    )
    spans = tuple((start, end) for start, end in read["offset_mapping"])
    entities = named_entities(layout.prompt, [one.caption for one in layout.active])
    return PromptTokens(spans, locate_entities(entities, spans))


def targets_of(tokens: PromptTokens, layout: Layout, boxes: bool) -> Targets | None:
    """The things to guide, with the layout's regions or, without `boxes`, those of their own attention.

    None for a prompt without things, which is told: its picture is that of the prompt alone.
    """
    found = find_targets(tokens.entities, layout if boxes else None)
    if found is None:
        logger.warning(
            "The prompt names nothing whose attention could be guided, and is drawn as it is: %s",
            layout.prompt,
        )
    return found
