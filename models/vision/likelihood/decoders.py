"""BLIP and GIT as captioners that score: decoders that go on from a picture, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...comat.concept_matching import IGNORED, Likelihood, likelihood_of
from .pixels import Preparation
from .scorer import CaptionScorer

# BLIP's captioner was trained to go on after these words (arXiv 2201.12086), which are not scored.
BLIP_PREFIX = "a photography of"


class BlipScorer(CaptionScorer):
    """BLIP's captioner (arXiv 2201.12086), CoMat's own.

    Captions are put into lower case after the `prefix`; start, prefix and padding are not scored, the end is.
    The first token is the tokenizer's start and not the decoder's own, as CoMat's released code has it.
    """

    def __init__(self, model: Any, tokenizer: Any, prepare: Preparation, prefix: str = BLIP_PREFIX) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.tokenizer, self.prepare, self.prefix = tokenizer, prepare, prefix

    def likelihood(self, pictures: Tensor, captions: Sequence[str]) -> Likelihood:
        return self._said(self._seen(pictures), captions)

    def _of_rows(self, pictures: Tensor, rows: Sequence[int], captions: Sequence[str]) -> Likelihood:
        return self._said(self._seen(pictures)[list(rows)], captions)

    def _seen(self, pictures: Tensor) -> Tensor:
        pixels = self.prepare(pictures).to(self.model.dtype)
        return self.model.vision_model(pixel_values=pixels)[0]

    def _said(self, seen: Tensor, captions: Sequence[str]) -> Likelihood:
        ids, mask, labels = self.read(captions)
        device = seen.device
        logits = self.model.text_decoder(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            encoder_hidden_states=seen,
            return_dict=True,
        ).logits
        return likelihood_of(logits, labels.to(device))

    def read(self, captions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, attention mask and labels of captions, each (B, L)."""
        lead = f"{self.prefix} " if self.prefix else ""
        words = self.tokenizer([lead + one.lower() for one in captions], padding=True, return_tensors="pt")
        ids, mask = words["input_ids"], words["attention_mask"]
        labels = ids.masked_fill(mask == 0, IGNORED)
        labels[:, : 1 + _length(self.tokenizer, self.prefix)] = IGNORED
        return ids, mask, labels


class GitScorer(CaptionScorer):
    """GIT (arXiv 2205.14100): a decoder over the picture's tokens and the caption's. No prefix."""

    def __init__(self, model: Any, tokenizer: Any, prepare: Preparation) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.tokenizer, self.prepare = tokenizer, prepare

    def likelihood(self, pictures: Tensor, captions: Sequence[str]) -> Likelihood:
        words = self.tokenizer([one.lower() for one in captions], padding=True, return_tensors="pt")
        ids, mask = (words[name].to(pictures.device) for name in ("input_ids", "attention_mask"))
        pixels = self.prepare(pictures).to(self.model.dtype)
        logits = self.model(
            input_ids=ids, attention_mask=mask, pixel_values=pixels, use_cache=False, return_dict=True
        ).logits
        # The picture's tokens come before the caption's.
        logits = logits[:, -ids.shape[1] :]
        labels = ids.masked_fill(mask == 0, IGNORED)
        return likelihood_of(logits, labels)


def _length(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else 0
