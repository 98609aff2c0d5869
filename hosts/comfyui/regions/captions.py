"""Captions of a layout through the host's own CLIP, as prompts of their own."""

from __future__ import annotations

from typing import Any

import comfy.model_management

from ....layout import Layout
from ..attention.placed import Caption


def encode_captions(clip: Any, layout: Layout, positive: list[Any]) -> tuple[Caption, ...]:
    """The captions of the layout's active instances, in stacking order.

    ValueError if the CLIP makes texts of another width than the prompt's.
    """
    width = positive[0][0].shape[-1] if positive else None
    captions: list[Caption] = []
    for instance in layout.active:
        comfy.model_management.throw_exception_if_processing_interrupted()
        tokens = clip.tokenize(instance.caption)
        encoded, values = clip.encode_from_tokens_scheduled(tokens)[0][:2]
        found = encoded.shape[-1]
        if width is not None and found != width:
            raise ValueError(
                f"This CLIP makes texts of width {found}, the prompt's is {width}: they come from different "
                "text encoders. Connect the CLIP that the prompt was encoded with."
            )
        captions.append(Caption(encoded, values, _unpadded(clip, tokens, encoded.shape[1])))
    return tuple(captions)


def _unpadded(clip: Any, tokens: dict[str, Any], length: int) -> slice:
    """Places of the tokens that are not padding, among `length` of a text.

    All of them where it cannot be told: the text's encoder is the one that reads as many tokens.
    """
    for name, chunks in tokens.items():
        ids = [token for token, *_ in chunks[0]]
        tokenizer = getattr(clip.tokenizer, name, getattr(clip.tokenizer, f"clip_{name}", None))
        padding = getattr(tokenizer, "pad_token", None)
        words = [place for place, token in enumerate(ids) if not isinstance(token, int) or token != padding]
        if words and len(chunks) == 1 and len(ids) == length:
            return slice(words[0], words[-1] + 1)
    return slice(None)
