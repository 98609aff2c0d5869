"""Token ids of captions, and what SDXL's text encoders make of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from ...models.ifadapter.phrases import Phrases
from ...models.rewards import RewardTokenizer

# Captions remembered, about 3 kB each.
_KEPT = 65_536
# Characters of a caption that a warning shows.
_SHOWN = 80

logger = logging.getLogger("instance_composer")


class TokenIds(NamedTuple):
    """Captions (B, T) for both text encoders; `mask`, of the first, is 1 from start to end of text."""

    first: Tensor
    second: Tensor
    mask: Tensor


class Tokenizer:
    """Both tokenizers of a pipeline; the ids of the last captions are kept, for they come every epoch.

    `cut` counts captions that were longer than what the encoders read, anew when one was forgotten.
    """

    def __init__(self, pipeline: StableDiffusionXLPipeline, kept: int = _KEPT) -> None:
        self._tokenizers: tuple[Any, Any] = (pipeline.tokenizer, pipeline.tokenizer_2)
        self.cut = 0
        self._known = lru_cache(maxsize=kept)(self._tokenized)

    def __call__(self, captions: Sequence[str]) -> TokenIds:
        """Token ids of captions, padded and cut to what the encoders read."""
        rows = [self._known(caption) for caption in captions]
        return TokenIds(*(torch.stack(parts) for parts in zip(*rows, strict=True)))

    def _tokenized(self, caption: str) -> TokenIds:
        first, second = (
            tokenizer(
                caption,
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            for tokenizer in self._tokenizers
        )
        if bool(first["attention_mask"].all()):
            self._tell_if_cut(caption)
        parts = (first["input_ids"], second["input_ids"], first["attention_mask"])
        # Four bytes each, because so many are kept.
        return TokenIds(*(part[0].to(torch.int32) for part in parts))

    def _tell_if_cut(self, caption: str) -> None:
        """Warn of the first caption that is longer than what is read, and again at two, four, eight, …"""
        tokenizer = self._tokenizers[0]
        whole = len(tokenizer(caption, truncation=False, verbose=False)["input_ids"])
        if whole <= tokenizer.model_max_length:
            return
        self.cut += 1
        if self.cut.bit_count() == 1:
            logger.warning(
                "captions cut so far: %d. %d tokens are read, start and end included, and %r has %d: nothing "
                "is learned from its end",
                self.cut,
                tokenizer.model_max_length,
                shown(caption),
                whole,
            )


def shown(text: str) -> str:
    """The beginning of a text, for a warning."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def tell_if_unread(reader: str, tokenizer: RewardTokenizer, prompts: Iterable[str]) -> None:
    """Warn once of prompts that are longer than what a reward model reads."""
    every = list(dict.fromkeys(prompts))
    cut = [(prompt, end) for prompt, end in zip(every, tokenizer(every).cut, strict=True) if end]
    if cut:
        prompt, end = cut[0]
        logger.warning(
            "%d of %d prompts are longer than what %s reads: of %r it does not read %r",
            len(cut),
            len(every),
            reader,
            shown(prompt),
            shown(end),
        )


def encode_prompts(text_encoder: Any, text_encoder_2: Any, ids: TokenIds) -> tuple[Tensor, Tensor]:
    """Conditions of SDXL: penultimate states of both encoders (B, T, D), pooled output of the second."""
    first = text_encoder(ids.first, output_hidden_states=True)
    second = text_encoder_2(ids.second, output_hidden_states=True)
    return torch.cat((first.hidden_states[-2], second.hidden_states[-2]), dim=-1), second.text_embeds


class EncodedPrompts(NamedTuple):
    """Conditions of SDXL for whole captions: states of both encoders (B, T, D), pooled output (B, E)."""

    states: Tensor
    pooled: Tensor


class EncodedPhrases(NamedTuple):
    """What an adapter reads of captions of instances: states (P, K, T, D) of K layers, mask (P, T)."""

    states: Tensor
    mask: Tensor

    @classmethod
    def of_tokens(cls, tokens: Sequence[Tensor]) -> EncodedPhrases:
        """Phrases (T, K, D), each of its own length, beside each other: zeros fill up the shorter ones."""
        lengths = torch.tensor([len(one) for one in tokens])
        states = torch.nn.utils.rnn.pad_sequence(list(tokens), batch_first=True).transpose(1, 2)
        return cls(states, (torch.arange(states.shape[2]) < lengths[:, None]).long())

    def as_phrases(self) -> Phrases:
        """As the adapter takes them, in float32."""
        states = self.states.float()
        end = self.mask.sum(-1) - 1
        eot = states[torch.arange(len(end), device=end.device), 0, end]
        return Phrases(states, self.mask, eot)
