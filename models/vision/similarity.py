"""CLIP (arXiv 2103.00020) as a measure of how well texts fit pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image
from transformers import AutoConfig, AutoModel, AutoProcessor

from .interfaces import ModelError
from .loading import DTYPE, find_model, loaded

_OPTION = "--clip"
_KINDS = ("clip",)


class ClipSimilarity:
    """A `TextSimilarity`: the cosine of CLIP's features, neither scaled nor cut at 0.

    A text that is longer than what CLIP reads is refused, since the end would count for nothing, or `cut`.
    """

    def __init__(self, model: Any, processor: Any, batch: int = 1, cut: bool = False) -> None:
        self.cut = cut
        self.model, self.processor, self.batch = model.eval().requires_grad_(False), processor, batch

    @classmethod
    def load(
        cls, name: str, device: str = "cpu", dtype: torch.dtype = torch.float32, **settings: Any
    ) -> ClipSimilarity:
        """Read a folder or fetch a name from the hub; `ModelError` for what is not there or no such model."""
        source = find_model(name, _OPTION)
        kind = loaded(name, _OPTION, lambda: AutoConfig.from_pretrained(source)).model_type
        if kind not in _KINDS:
            raise ModelError(f"{_OPTION}: {name} is a {kind} model; a {' or '.join(_KINDS)} is needed")
        model = loaded(name, _OPTION, lambda: AutoModel.from_pretrained(source, **{DTYPE: dtype}))
        processor = loaded(name, _OPTION, lambda: AutoProcessor.from_pretrained(source))
        return cls(model.to(device), processor, **settings)

    def similarities(self, pictures: Sequence[Image], texts: Sequence[str]) -> list[float]:
        """The cosine of each picture and its own text; `ModelError` for a text that is too long."""
        found: list[float] = []
        for first in range(0, len(pictures), self.batch):
            some = slice(first, first + self.batch)
            found += self._similarities(pictures[some], texts[some])
        return found

    @torch.inference_mode()
    def _similarities(self, pictures: Sequence[Image], texts: Sequence[str]) -> list[float]:
        most = self.model.config.text_config.max_position_embeddings
        cut: dict[str, Any] = {"truncation": True, "max_length": most} if self.cut else {}
        read = self.processor(text=list(texts), padding=True, return_tensors="pt", **cut)
        if read["input_ids"].shape[1] > most:
            longest = max(texts, key=len)
            raise ModelError(
                f'{_OPTION}: "{longest[:60]}…" is longer than the {most} tokens that it reads; shorten the '
                "prompt, or leave the picture out"
            )
        seen = self.processor(images=list(pictures), return_tensors="pt")
        pixels = seen["pixel_values"].to(self.model.device, self.model.dtype)
        found = self.model(pixel_values=pixels, **read.to(self.model.device), return_dict=True)
        return torch.cosine_similarity(found.image_embeds.float(), found.text_embeds.float()).tolist()
