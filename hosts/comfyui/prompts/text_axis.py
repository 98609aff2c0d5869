"""Text axis of a CONDITIONING: which tokens it is made of, by the text encoders of a CLIP.

Facts of ComfyUI's own classes (`comfy/text_encoders`), 0.33, told by the names of the tokenizers' classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .pieces import NO_TEXT, Span, Token, piece_spans
from .syntax import PlainPrompt
from .tokens import clip_spans

# Ids in Qwen's vocabulary: the beginning of a turn, "user" and a line break.
TURN, USER, LINE_BREAK = 151644, 872, 198


class UnknownEncoderError(ValueError):
    """A CLIP of which nobody knows where its words are in a CONDITIONING."""


def _nothing(tokens: Sequence[Token]) -> int:
    return 0


def _system_prompt(tokens: Sequence[Token]) -> int:
    """Tokens before the words of the user, which the text encoders of Qwen-Image and Krea 2 leave out."""
    places = [place for place, (token, *_) in enumerate(tokens) if isinstance(token, int) and token == TURN]
    place = next(islice(places, 1, None), places[0] if places else 0)
    ids = [token for token, *_ in tokens[place + 1 : place + 3]]
    return place + 3 if ids == [USER, LINE_BREAK] and len(tokens) > place + 3 else place


@dataclass(frozen=True)
class Encoder:
    """A text encoder that makes the text axis by itself.

    `key` of its tokens, also the attribute of its tokenizer; None: those that ComfyUI gives a CLIP of one.
    `left_out`: how many of the first tokens do not reach the axis.
    """

    key: str | None = None
    left_out: Callable[[Sequence[Token]], int] = _nothing


# By class of the CLIP's tokenizer.
ENCODERS: dict[str, Encoder] = {
    "FluxTokenizer": Encoder("t5xxl"),
    # Its text adapter writes at the places of T5's tokens what it reads from Qwen's.
    "AnimaTokenizer": Encoder("t5xxl"),
    "PixArtTokenizer": Encoder(),
    "CosmosT5Tokenizer": Encoder(),
    "WanT5Tokenizer": Encoder(),
    "LuminaTokenizer": Encoder(),
    "ZImageTokenizer": Encoder(),
    "Flux2Tokenizer": Encoder(),
    "KleinTokenizer": Encoder(),
    "KleinTokenizer8B": Encoder(),
    "QwenImageTokenizer": Encoder(left_out=_system_prompt),
    "Krea2Tokenizer": Encoder(left_out=_system_prompt),
}
# Tokenizers of CLIP alone, and CLIP before T5.
CLIP_ALONE = ("SD1Tokenizer", "SDXLTokenizer")
CLIP_AND_T5 = "SD3Tokenizer"
# T5, and Llama twice: its last layer, and the one that a block reads.
T5_AND_LLAMA = "HiDreamTokenizer"
MODELS = (
    "SDXL, SD1.5, SD3.5, Flux, FLUX.2, Klein, Chroma, Qwen-Image, Z-Image, Lumina 2, Krea 2, Anima, "
    "Cosmos-Predict2, Wan and HiDream I1"
)


def token_spans(clip: Any, prompt: str) -> tuple[PlainPrompt, list[Span]]:
    """A prompt's plain text, and for each index of the CONDITIONING's text axis its span there.

    The axis is that of ComfyUI's CLIP Text Encode. (0, 0) for what stands for no text: start, end, padding,
    embeddings, a system prompt. Raises `PromptSyntaxError`; `UnknownEncoderError` for other text encoders.
    """
    name = type(clip.tokenizer).__name__
    if name in CLIP_ALONE and (tokenizers := _clip_tokenizers(clip)):
        return clip_spans(clip, prompt, tokenizers)
    if name == CLIP_AND_T5:
        return _clip_and_t5(clip, prompt)
    if name == T5_AND_LLAMA:
        return _t5_and_llama(clip, prompt)
    if name not in ENCODERS:
        raise UnknownEncoderError(
            f"This CLIP has {name}, and where its words are in a prompt is not known. Known are the text "
            f"encoders of {MODELS}: connect the CLIP that ComfyUI's templates load for one of these."
        )
    encoder = ENCODERS[name]
    plain, spans, tokens = _pieces(clip, prompt, encoder.key)
    return plain, spans[encoder.left_out(tokens) :]


def _clip_and_t5(clip: Any, prompt: str) -> tuple[PlainPrompt, list[Span]]:
    """SD3.5's: the tokens of CLIP and behind them those of T5, as far as each is loaded."""
    plain, spans = None, list[Span]()
    if tokenizers := _clip_tokenizers(clip):
        plain, spans = clip_spans(clip, prompt, tokenizers)
    if getattr(clip.cond_stage_model, "t5xxl", None) is not None:
        plain, others, _ = _pieces(clip, prompt, "t5xxl")
        spans = [*spans, *others]
    if plain is None:
        raise UnknownEncoderError(
            "This CLIP has no text encoder. Load CLIP-L, CLIP-G, T5 or several of them."
        )
    return plain, spans


def _t5_and_llama(clip: Any, prompt: str) -> tuple[PlainPrompt, list[Span]]:
    """HiDream's: the tokens of T5, behind them twice those of Llama, which is read in two layers."""
    if getattr(clip.cond_stage_model, "t5xxl", None) is None:
        raise UnknownEncoderError(
            "This CLIP of HiDream I1 has no T5, without which where words are is not known. Load T5 as well "
            "(QuadrupleCLIPLoader)."
        )
    plain, spans, _ = _pieces(clip, prompt, "t5xxl")
    llama = [NO_TEXT]
    if getattr(clip.cond_stage_model, "llama", None) is not None:
        _, llama, _ = _pieces(clip, prompt, "llama")
    return plain, [*spans, *llama, *llama]


def _clip_tokenizers(clip: Any) -> dict[str, Any]:
    """Tokenizers of those of CLIP-L and CLIP-G that are loaded, by their keys."""
    model, tokenizer = clip.cond_stage_model, clip.tokenizer
    loaded = (one for one in ("l", "g") if getattr(model, f"clip_{one}", None) is not None)
    return {one: getattr(tokenizer, f"clip_{one}") for one in loaded if hasattr(tokenizer, f"clip_{one}")}


def _pieces(clip: Any, prompt: str, key: str | None) -> tuple[PlainPrompt, list[Span], list[Token]]:
    if key is None:
        key, attribute = clip.tokenizer.clip_name, clip.tokenizer.clip
    else:
        attribute = key

    def tokenize(text: str) -> list[Token]:
        return [one for chunk in clip.tokenize(text, return_word_ids=True)[key] for one in chunk]

    plain, spans = piece_spans(getattr(clip.tokenizer, attribute), tokenize, prompt)
    return plain, spans, tokenize(prompt)
