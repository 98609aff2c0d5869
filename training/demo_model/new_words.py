"""Words that a text encoder has not been trained on, made ready to be learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline


@torch.no_grad()
def add_words(pipeline: StableDiffusionXLPipeline, words: Sequence[str]) -> None:
    """Give words whose embedding is zero in both encoders, as in the demo model as shipped, a random one.

    It is as large as those of words that are known, so that words differ from the first step on; what has an
    embedding keeps it. Draws from the global random generator.
    """
    for tokenizer, encoder in (
        (pipeline.tokenizer, pipeline.text_encoder),
        (pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        read: Any = tokenizer
        table: Any = encoder.get_input_embeddings().weight  # pyright: ignore[reportOptionalMemberAccess]
        known = table.abs().amax(dim=1) > 0
        ids = sorted(
            {number for word in words for number in read(word, add_special_tokens=False)["input_ids"]}
        )
        deviation = table[known].std()
        for number in ids:
            if not known[number]:
                table[number] = deviation * torch.randn(table.shape[1])
