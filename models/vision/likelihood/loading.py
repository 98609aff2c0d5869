"""A captioner that scores, from a folder or a name on Hugging Face's hub, told by its `model_type`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
from transformers import BlipForConditionalGeneration as Blip

from ..interfaces import ModelError
from ..loading import DTYPE, find_model, loaded
from .chat import ChatScorer, LlavaPixels, QwenPixels
from .decoders import BlipScorer, GitScorer
from .pixels import Preparation
from .scorer import CaptionScorer

_OPTION = "--captioner"
_QWEN = ("qwen2_vl", "qwen2_5_vl")
KINDS = ("blip", "git", "llava", *_QWEN)


def load_caption_scorer(name: str, dtype: torch.dtype = torch.float32) -> CaptionScorer:
    """The captioner of a folder or of a name on the hub; `ModelError` for what gives no likelihood."""
    source = find_model(name, _OPTION)
    config: Any = loaded(name, _OPTION, lambda: AutoConfig.from_pretrained(source))
    kind = config.model_type
    architectures: list[str] = config.architectures or []
    if kind not in KINDS or (kind == "blip" and not _captions(architectures)):
        what = f"{kind} model" + (f" ({', '.join(architectures)})" if architectures else "")
        raise ModelError(
            f"{_OPTION}: {name} is a {what}, which gives no likelihood of a caption that this training "
            f"reads; a captioner of one of these kinds is needed: {', '.join(KINDS)}"
        )
    processor = loaded(name, _OPTION, lambda: AutoProcessor.from_pretrained(source))
    kinds: dict[str, Any] = {"blip": Blip, "git": AutoModelForCausalLM}
    made: Callable[..., Any] = kinds.get(kind, AutoModelForImageTextToText).from_pretrained
    model = loaded(name, _OPTION, lambda: made(source, **{DTYPE: dtype}))
    if kind == "blip":
        prefix = {} if (own := getattr(config, "caption_prefix", None)) is None else {"prefix": own}
        return BlipScorer(
            model, processor.tokenizer, Preparation.of(processor.image_processor, _OPTION), **prefix
        )
    if kind == "git":
        return GitScorer(model, processor.tokenizer, Preparation.of(processor.image_processor, _OPTION))
    if kind == "llava":
        return ChatScorer(model, processor, LlavaPixels(processor, _OPTION))
    return ChatScorer(model, processor, QwenPixels(processor))


def _captions(architectures: list[str]) -> bool:
    """Whether weights are those of BLIP's captioner and not of its retrieval or its answers to questions."""
    return not architectures or Blip.__name__ in architectures
