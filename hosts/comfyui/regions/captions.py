"""Captions of a layout through the host's own CLIP, as prompts of their own."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import comfy.utils

from ....layout import Layout
from ..attention.placed import Caption

logger = logging.getLogger("instance_composer")


def tell_of_schedule(clip: Any) -> None:
    """Says in the log that captions are read once, where the CLIP is to change during the run."""
    if getattr(clip, "use_clip_schedule", False):
        logger.warning(
            "This CLIP changes during the run (Set CLIP Hooks, schedule_clip). Captions of instances do not "
            "follow, unlike prompts: they are read as it is at the beginning."
        )


def encode_captions(clip: Any, layout: Layout, positive: list[Any]) -> tuple[Caption, ...]:
    """The captions of the layout's active instances, in stacking order; equal ones are read once.

    ValueError if the CLIP makes texts of another width than the prompt's.
    """
    width = positive[0][0].shape[-1] if positive else None
    captions: dict[str, Caption] = {}
    texts = [instance.caption for instance in layout.active]
    unlike = dict.fromkeys(texts)
    progress = comfy.utils.ProgressBar(len(unlike))
    for text in unlike:
        comfy.model_management.throw_exception_if_processing_interrupted()
        tokens = clip.tokenize(text)
        encoded, values = clip.encode_from_tokens_scheduled(tokens)[0][:2]
        found = encoded.shape[-1]
        if width is not None and found != width:
            raise ValueError(
                f"This CLIP makes texts of width {found}, the prompt's is {width}: they come from different "
                "text encoders. Connect the CLIP that the prompt was encoded with."
            )
        captions[text] = Caption(encoded, values, *_places(clip, tokens, encoded.shape[1]))
        progress.update(1)
    return tuple(captions[text] for text in texts)


def _places(clip: Any, tokens: dict[str, Any], length: int) -> tuple[slice, tuple[int, ...] | None]:
    """Places of the tokens that are not padding, and of those that are words, among `length` of a text.

    All of them and None where it cannot be told: the text's encoder is the one that reads as many tokens.
    """
    for name, chunks in tokens.items():
        ids = [token for chunk in chunks for token, *_ in chunk]
        tokenizer = getattr(clip.tokenizer, name, getattr(clip.tokenizer, f"clip_{name}", None))
        if tokenizer is None or len(ids) != length:
            continue
        marks = [getattr(tokenizer, f"{mark}_token", None) for mark in ("pad", "start", "end")]
        kept = _places_without(ids, marks[:1])
        if not kept:
            continue
        # Between chunks there is padding too.
        unpadded = slice(kept[0], kept[-1] + 1) if len(chunks) == 1 else slice(None)
        return unpadded, _places_without(ids, marks)
    return slice(None), None


def _places_without(ids: list[Any], marks: list[Any]) -> tuple[int, ...]:
    # What is no number is a vector of an embedding: a word.
    return tuple(place for place, token in enumerate(ids) if not isinstance(token, int) or token not in marks)
