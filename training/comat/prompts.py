"""Prompts of a run: their tokens and conditions, for SDXL's text encoders and for Stable Diffusion 1's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizerFast  # pyright: ignore[reportAttributeAccessIssue]

from ...hosts.diffusers_sdxl import TextToImage
from ...models.comat import concentratable
from ...models.entities.extraction import extract_entities
from ...models.entities.pipelines import DEFAULT_PIPELINE, parse
from ..data.text import TokenIds, encode_prompts, shown
from ..noise import size_conditioning

logger = logging.getLogger("instance_composer")


class Conditions(NamedTuple):
    """What a UNet is told of B pictures: text features (B, T, D), and SDXL's pooled text and sizes."""

    prompt: Tensor
    added: dict[str, Tensor] | None

    def rows(self, rows: slice | Tensor) -> Conditions:
        """Some of the pictures, in the order of their numbers (N,) if these are given."""
        added = None if self.added is None else {name: one[rows] for name, one in self.added.items()}
        return Conditions(self.prompt[rows], added)

    def repeated(self, count: int) -> Conditions:
        """One picture's conditions, so many times."""
        added = self.added and {name: one.expand(count, -1) for name, one in self.added.items()}
        return Conditions(self.prompt.expand(count, -1, -1), added)


class PromptEncoder(nn.Module):
    """The text encoders of a pipeline, frozen."""

    def __init__(self, pipeline: TextToImage) -> None:
        super().__init__()
        self.large = isinstance(pipeline, StableDiffusionXLPipeline)
        parts = ["text_encoder", "text_encoder_2"] if self.large else ["text_encoder"]
        encoders: list[Any] = [getattr(pipeline, part).requires_grad_(False) for part in parts]
        self.encoders = nn.ModuleList(encoders)
        names = ["tokenizer", "tokenizer_2"] if self.large else ["tokenizer"]
        self.tokenizers: list[Any] = [getattr(pipeline, name) for name in names]

    def tokens(self, prompts: Sequence[str]) -> list[Tensor]:
        """Token ids (B, T) for each encoder, padded and cut to what it reads."""
        return [
            tokenizer(
                list(prompts),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )["input_ids"]
            for tokenizer in self.tokenizers
        ]

    def tell_if_cut(self, prompts: Sequence[str]) -> None:
        """Warn once of prompts that are longer than what the encoders read."""
        tokenizer = self.tokenizers[0]
        most: int = tokenizer.model_max_length
        ids = tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]
        long = [(prompt, len(own)) for prompt, own in zip(prompts, ids, strict=True) if len(own) > most]
        if long:
            prompt, length = long[0]
            logger.warning(
                "%d of %d prompts are cut: %d tokens are read, start and end included, and %r has %d: "
                "nothing is drawn of its end",
                len(long),
                len(prompts),
                most,
                shown(prompt),
                length,
            )

    @torch.no_grad()
    def encode(self, tokens: Sequence[Tensor], size: tuple[int, int]) -> Conditions:
        """Conditions of prompts, for pictures of this height and width in pixels."""
        if not self.large:
            return Conditions(self.encoders[0](tokens[0])[0], None)
        first, second = self.encoders
        prompt, pooled = encode_prompts(first, second, TokenIds(tokens[0], tokens[1], tokens[0]))
        sizes = size_conditioning([size] * len(prompt)).to(prompt.device)
        return Conditions(prompt, {"text_embeds": pooled, "time_ids": sizes})

    def entities(self, prompts: Sequence[str], pipeline: str = DEFAULT_PIPELINE) -> list[PromptEntities]:
        """The entities of prompts that attention can be concentrated for, with their tokens."""
        tokenizer = self.tokenizers[0]
        if not tokenizer.is_fast:
            tokenizer = CLIPTokenizerFast.from_pretrained(tokenizer.name_or_path)
        found: list[PromptEntities] = []
        for doc, prompt in zip(parse(prompts, pipeline), prompts, strict=True):
            words = tokenizer(
                prompt, truncation=True, max_length=tokenizer.model_max_length, return_offsets_mapping=True
            )
            entities = concentratable(extract_entities(doc, words["offset_mapping"]))
            found.append(
                PromptEntities(
                    tuple(one.entity.noun for one in entities), tuple(one.tokens for one in entities)
                )
            )
        return found


class PromptEntities(NamedTuple):
    """A prompt's entities: their nouns, the tokens of each, noun and modifiers, and the prompt's rivals.

    What the run's losses do not ask for is empty.
    """

    nouns: tuple[str, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    rivals: tuple[str, ...] = ()
