"""Where the words of a prompt stand among the tokens that ComfyUI makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import comfy.sdxl_clip
import folder_paths

from .prompt_syntax import read_prompt

# What a chunk of 77 tokens holds besides the start and the end of the text.
TOKENS_PER_CHUNK = 75

Chunks = list[list[tuple[Any, float, int]]]


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Tokens of each text for SDXL's text encoders, without start, end and padding; no weights are needed.

    Read as ComfyUI reads a prompt: brackets and weights count nothing, an embedding counts its vectors (the
    larger number where the encoders differ). One chunk holds `TOKENS_PER_CHUNK`.
    Raises `PromptSyntaxError` for a text that ComfyUI cannot read.
    """
    tokenizer = _sdxl_tokenizer()
    return [max(_count(chunks) for chunks in _tokenize(tokenizer, text).values()) for text in texts]


def _tokenize(tokenizer: Any, text: str) -> dict[str, Chunks]:
    read_prompt(text)  # what ComfyUI would stumble over gets its own words there
    return tokenizer.tokenize_with_weights(text, return_word_ids=True)


def _count(chunks: Chunks) -> int:
    # Word 0 is what belongs to no word: start, end and padding.
    return sum(word != 0 for chunk in chunks for _, _, word in chunk)


@cache
def _sdxl_tokenizer() -> Any:
    return comfy.sdxl_clip.SDXLTokenizer(embedding_directory=folder_paths.get_folder_paths("embeddings"))
