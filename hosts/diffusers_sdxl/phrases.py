"""Instance captions through SDXL's two tokenizers and text encoders, as an IFAdapter reads them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from ...models.ifadapter.phrases import LAYERS, Phrases
from .errors import UnsuitableModelError

logger = logging.getLogger("instance_composer")


def encode_phrases(
    pipeline: StableDiffusionXLPipeline, captions: Sequence[str], names: Sequence[str] | None = None
) -> Phrases:
    """Encode instance captions, as float32, with the pipeline's tokenizers and text encoders (LoRAs
    included).

    A caption longer than the encoders can read is cut off; a warning names it by `names` (default: 1, 2, …).
    Raises `UnsuitableModelError` if the pipeline lacks one of the encoders.

    Source: IFAdapter (arXiv 2409.08240), equation 3; which layers, from the released code. The attention mask
    of the first tokenizer serves both encoders; they split words alike and differ only in padding.
    """
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    if None in tokenizers or None in encoders:
        raise UnsuitableModelError(
            "an IFAdapter needs both text encoders of SDXL, and this model has only one (is it the "
            "refiner?); use an SDXL base model or one made from it"
        )
    _warn_of_cut_captions(pipeline.tokenizer, captions, names or [str(i + 1) for i in range(len(captions))])
    batches = [_tokenize(tokenizer, captions) for tokenizer in tokenizers]
    return encode_tokens(encoders, [batch["input_ids"] for batch in batches], batches[0]["attention_mask"])


@torch.no_grad()
def encode_tokens(encoders: Sequence[Any], ids: Sequence[Tensor], attention_mask: Tensor) -> Phrases:
    """Text features for token ids (P, T) of each encoder and the 0/1 mask (P, T) of the first tokenizer."""
    states = [
        encoder(i.to(encoder.device), output_hidden_states=True).hidden_states
        for encoder, i in zip(encoders, ids, strict=True)
    ]
    for encoder, layers in zip(encoders, states, strict=True):
        if len(layers) < -min(LAYERS):
            raise UnsuitableModelError(
                f"an IFAdapter reads hidden states {LAYERS} of each text encoder, and this "
                f"{type(encoder).__name__} has only {len(layers)}; use an SDXL model"
            )
    device = states[0][0].device
    features = torch.stack(
        [torch.cat([layers[index].to(device) for layers in states], dim=-1).float() for index in LAYERS],
        dim=1,
    )
    attention_mask = attention_mask.to(device)
    end = attention_mask.sum(-1) - 1
    return Phrases(features, attention_mask, features[torch.arange(len(end), device=device), 0, end])


def _tokenize(tokenizer: Any, captions: Sequence[str]) -> Any:
    return tokenizer(
        list(captions),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )


def _warn_of_cut_captions(tokenizer: Any, captions: Sequence[str], names: Sequence[str]) -> None:
    # verbose=False: the tokenizer's own warning about length does not say which caption it means.
    lengths = [len(ids) for ids in tokenizer(list(captions), verbose=False)["input_ids"]]
    for name, caption, length in zip(names, captions, lengths, strict=True):
        if length > tokenizer.model_max_length:
            logger.warning(
                "instance %s: its caption has %d tokens, the text encoders read %d; what comes after is "
                "ignored: %r",
                name,
                length,
                tokenizer.model_max_length,
                caption,
            )
