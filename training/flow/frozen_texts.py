"""Captions as two frozen text encoders read them, each at its own length and encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..data.text import TokenIds, encode_prompts

# Captions remembered, about 5 kB each in the demo model.
_KEPT = 65_536


class Texts(NamedTuple):
    """Captions (B): states (B, T, D), mask (B, T), true from start to end of text, pooled output (B, E)."""

    states: Tensor
    mask: Tensor
    pooled: Tensor


class FrozenTexts:
    """What both text encoders of a pipeline make of captions; they stay on the CPU and are never trained.

    A caption is encoded alone and without padding, so that its numbers depend on nothing else.
    """

    def __init__(self, pipeline: StableDiffusionXLPipeline, kept: int = _KEPT) -> None:
        self._tokenizers: tuple[Any, Any] = (pipeline.tokenizer, pipeline.tokenizer_2)
        encoders: tuple[Any, Any] = (pipeline.text_encoder, pipeline.text_encoder_2)
        self.encoders = tuple(encoder.requires_grad_(False).eval() for encoder in encoders)
        self._known = lru_cache(maxsize=kept)(self._encoded)

    def __call__(self, captions: Sequence[str]) -> Texts:
        """The captions beside each other; zeros fill up the shorter ones."""
        states, pooled = zip(*(self._known(caption) for caption in captions), strict=True)
        lengths = torch.tensor([len(one) for one in states])
        filled = pad_sequence(list(states), batch_first=True)
        mask = torch.arange(filled.shape[1]) < lengths[:, None]
        return Texts(filled, mask, torch.stack(list(pooled)))

    @torch.no_grad()
    def _encoded(self, caption: str) -> tuple[Tensor, Tensor]:
        first, second = (
            tokenizer(caption, truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt")[
                "input_ids"
            ]
            for tokenizer in self._tokenizers
        )
        ids = TokenIds(first, second, torch.ones_like(first))
        states, pooled = encode_prompts(self.encoders[0], self.encoders[1], ids)
        return states[0], pooled[0]
