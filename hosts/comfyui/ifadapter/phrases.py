"""Instance captions through the text encoders of a ComfyUI CLIP object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sd1_clip
import torch
from torch import Tensor

from ....models.ifadapter.phrases import LAYERS, Phrases

try:
    from comfy.model_management import cuda_device_context as _device_context
except ImportError:
    # Older versions have no such context and need none.
    from contextlib import nullcontext as _device_context

# Captions in one pass: the encoders hand out all their layers, 13 MB a caption for SDXL.
CAPTIONS_PER_PASS = 8

logger = logging.getLogger("instance_composer")


@dataclass(frozen=True, eq=False)
class Encoded:
    """One encoder's share of `Phrases`; masks differ where an embedding fits one encoder alone."""

    hidden_states: Tensor
    attention_mask: Tensor

    @property
    def eot(self) -> Tensor:
        """The penultimate layer at end of text (P, C)."""
        rows = torch.arange(len(self.attention_mask), device=self.attention_mask.device)
        return self.hidden_states[rows, 0, self.attention_mask.sum(1) - 1]


def encode_phrases(
    clip: Any, captions: Sequence[tuple[str, str]], on_pass: Callable[[], None] = lambda: None
) -> Phrases:
    """Encode (instance name, caption) pairs with both SDXL encoders, whatever patches the CLIP carries.

    Tokens, embeddings and weights as in `(red:1.3)` are read as ComfyUI reads a prompt. A caption beyond one
    chunk of 77 tokens is cut with a warning naming its instance. `on_pass` is called after every pass.
    """
    encoders = _encoders(clip)
    tokens = [_first_chunk(clip, name, caption) for name, caption in captions]
    clip.load_model()
    with _device_context(clip.patcher.load_device):
        first, second = (
            _encode(encoder, [token[key] for token in tokens], clip.patcher.load_device, on_pass)
            for key, encoder in encoders.items()
        )
    length = min(first.attention_mask.shape[1], second.attention_mask.shape[1])
    return Phrases(
        torch.cat((first.hidden_states[:, :, :length], second.hidden_states[:, :, :length]), dim=-1),
        first.attention_mask[:, :length],
        torch.cat((first.eot, second.eot), dim=-1),
    )


def count_passes(captions: int) -> int:
    """The number of times that `encode_phrases` calls `on_pass`."""
    return 2 * -(-captions // CAPTIONS_PER_PASS)


def _encoders(clip: Any) -> dict[str, Any]:
    model = clip.cond_stage_model
    if not (hasattr(model, "clip_l") and hasattr(model, "clip_g") and not hasattr(model, "t5xxl")):
        raise ValueError(
            f"This CLIP is {type(model).__name__}. An IFAdapter reads captions with SDXL's two text encoders "
            "(CLIP-L and CLIP-G): connect the CLIP of an SDXL checkpoint, or load both with DualCLIPLoader, "
            "type sdxl."
        )
    return {"l": model.clip_l, "g": model.clip_g}


def _first_chunk(clip: Any, name: str, caption: str) -> dict[str, list[tuple[Any, float]]]:
    tokens = clip.tokenize(caption)
    if any(len(tokens[key]) > 1 for key in ("l", "g")):
        logger.warning(
            "The caption of instance %s is longer than the 77 tokens an IFAdapter reads, the rest is left "
            "out: %.60s…",
            name,
            caption,
        )
    return {key: tokens[key][0] for key in ("l", "g")}


def _encode(
    encoder: Any,
    tokens: list[list[tuple[Any, float]]],
    device: torch.device,
    on_pass: Callable[[], None],
) -> Encoded:
    """The chosen layers of one encoder for all captions, weights applied."""
    parts: list[Encoded] = []
    for start in range(0, len(tokens), CAPTIONS_PER_PASS):
        comfy.model_management.throw_exception_if_processing_interrupted()
        parts.append(encode_tokens(encoder, tokens[start : start + CAPTIONS_PER_PASS], device))
        on_pass()
    return Encoded(
        torch.cat([part.hidden_states for part in parts]), torch.cat([part.attention_mask for part in parts])
    )


def encode_tokens(encoder: Any, batch: list[list[tuple[Any, float]]], device: torch.device) -> Encoded:
    """The chosen layers of one encoder for (token, weight) sequences of one length."""
    ids = [[token for token, _ in entry] for entry in batch]
    weights = torch.tensor([[weight for _, weight in entry] for entry in batch])
    weighted = bool((weights != 1.0).any())
    if weighted:
        ids.append(comfy.sd1_clip.gen_empty_tokens(encoder.special_tokens, len(ids[0])))
    with _all_layers(encoder, device):
        states, _ = encoder.encode(ids)[:2]
        mask = encoder.process_tokens(ids, device)[1]
    states = states[:, list(LAYERS)]
    if weighted:
        # ComfyUI's rule for prompts: away from the features of an empty text, here in each of the layers.
        empty = states[-1:]
        factor = weights.to(states)[:, None, :, None]
        states, mask = empty + (states[:-1] - empty) * factor, mask[:-1]
    return Encoded(states, mask)


@contextmanager
def _all_layers(encoder: Any, device: torch.device) -> Iterator[None]:
    """Makes an encoder hand out the raw output of every layer, and puts its options back afterwards."""
    norm = encoder.layer_norm_hidden_state
    encoder.reset_clip_options()
    encoder.set_clip_options({"execution_device": device})
    encoder.layer_norm_hidden_state, encoder.layer = False, "all"
    try:
        yield
    finally:
        encoder.layer_norm_hidden_state = norm
        encoder.reset_clip_options()
