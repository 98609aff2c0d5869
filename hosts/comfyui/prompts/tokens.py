"""Tokens that CLIP's text encoders make of a prompt in ComfyUI: their number, and what each stands for."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from itertools import accumulate, pairwise
from numbers import Integral
from typing import Any

import comfy.sdxl_clip
import folder_paths

from .pieces import NO_TEXT, Span, byte_letters
from .syntax import PlainPrompt, read_prompt

# What a chunk of 77 tokens holds besides the start and the end of the text.
TOKENS_PER_CHUNK = 75
# CLIP's tokenizer never joins what stands on both sides of these; older ones drop other white space.
WORD = re.compile(r"[^ \t\n\r]+")

Chunks = list[list[tuple[Any, float, int]]]

logger = logging.getLogger("instance_composer")


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Tokens of each text for SDXL's text encoders, without start, end and padding; no weights are needed.

    Read as ComfyUI reads a prompt: brackets and weights count nothing, an embedding counts its vectors (the
    larger number where the encoders differ). One chunk holds `TOKENS_PER_CHUNK`.
    Raises `PromptSyntaxError` for a text that ComfyUI cannot read.
    """
    tokenizer = _sdxl_tokenizer()
    for text in texts:
        read_prompt(text)  # what ComfyUI would stumble over gets its own words there
    chunks = [tokenizer.tokenize_with_weights(text, return_word_ids=True).values() for text in texts]
    return [max(_count(one) for one in encoders) for encoders in chunks]


def clip_spans(clip: Any, prompt: str, tokenizers: Mapping[str, Any]) -> tuple[PlainPrompt, list[Span]]:
    """A prompt's plain text, and for each token of CLIP-L, CLIP-G or both the span there.

    77 tokens a chunk, chunks one after another, the encoders side by side along the channels. (0, 0) for what
    stands for no text: start, end, padding, embeddings. Where an embedding makes the encoders differ, the one
    with more tokens counts. `tokenizers` by their keys "l" and "g". Raises `PromptSyntaxError`.
    """
    embeddings = any(tokenizer.embedding_directory is not None for tokenizer in tokenizers.values())
    plain = read_prompt(prompt, embeddings=embeddings)
    chunks: dict[str, Chunks] = clip.tokenize(prompt, return_word_ids=True)
    found = {key: list(_content(chunks[key], _width(clip, key))) for key in tokenizers}
    if any(one != other for one, other in pairwise(found.values())):
        logger.warning(
            "An embedding takes more tokens in one text encoder than in the other, so that the words after "
            "it are at different places in the two. Places of the longer one are used."
        )
    longer = max(found.values(), key=len)
    length = min(sum(len(chunk) for chunk in chunks[key]) for key in tokenizers)
    spans = [NO_TEXT] * length
    for index, span in _located(longer, list(_expected(next(iter(tokenizers.values())), plain))):
        if index < length:
            spans[index] = span
    return plain, spans


def _width(clip: Any, key: str) -> int:
    encoder = getattr(clip.cond_stage_model, f"clip_{key}")
    return encoder.transformer.get_input_embeddings().weight.shape[1]


def _content(chunks: Chunks, width: int) -> Iterator[tuple[int, int | None]]:
    """Index and id of each token that belongs to the prompt; id None for a vector of an embedding.

    ComfyUI drops vectors of another width than the encoder's, and what follows in the chunk moves up.
    """
    start = 0
    for chunk in chunks:
        index = start
        for token, _, word in chunk:
            if isinstance(token, Integral):
                if word:
                    yield index, int(token)
            elif token.shape[-1] != width:
                continue
            else:
                yield index, None
            index += 1
        start += len(chunk)


def _expected(tokenizer: Any, plain: PlainPrompt) -> Iterator[tuple[int, Span]]:
    """Id and span of the tokens of a plain prompt, word for word."""
    places = [match.span() for piece in plain.pieces for match in WORD.finditer(plain.text, *piece)]
    words = [plain.text[start:end] for start, end in places]
    encoded = tokenizer.tokenizer(words)["input_ids"] if words else []
    last = -1 if tokenizer.tokenizer_adds_end_token else None
    for (start, _), word, ids in zip(places, words, encoded, strict=True):
        ids = ids[tokenizer.tokens_start : last]
        pieces = [tokenizer.inv_vocab[token].removesuffix("</w>") for token in ids]
        for token, (first, end) in zip(ids, _split(word, pieces), strict=True):
            yield token, (start + first, start + end)


def _split(word: str, pieces: Sequence[str]) -> list[Span]:
    """Spans of a word's pieces; a piece has every character of which it has a byte.

    CLIP's pieces are cut from the UTF-8 bytes of the composed lower-case word, a letter for each byte. What
    has no look (blanks that are not ASCII, format characters) may be left out of them, by one version of the
    tokenizer and not by another. Where they are of another text, each piece has the whole word; that is
    logged.
    """
    letters = "".join(pieces)
    owners: list[Span] = []
    for start, end in _composed(word):
        encoded = "".join(byte_letters()[byte] for byte in _normal(word[start:end]).lower().encode())
        # Letters have other bytes than expected in places, a final sigma, but never another number of them.
        if unicodedata.category(word[start])[0] not in "CZ" or letters.startswith(encoded, len(owners)):
            owners += [(start, end)] * len(encoded)
    if len(owners) != len(letters):
        logger.warning("CLIP's tokenizer reads %.80r otherwise; its words share all its tokens.", word)
        return [(0, len(word))] * len(pieces)
    ends = list(accumulate(map(len, pieces)))
    return [
        (owners[end - len(piece)][0], owners[end - 1][1]) for piece, end in zip(pieces, ends, strict=True)
    ]


def _composed(word: str) -> Iterator[Span]:
    """Spans of the characters that compose into one."""
    start = 0
    for place in range(1, len(word)):
        character = word[place]
        if character.isascii() or not (
            unicodedata.combining(character)
            or _normal(word[start:place] + character) != _normal(word[start:place]) + _normal(character)
        ):
            yield start, place
            start = place
    yield start, len(word)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _located(
    content: Sequence[tuple[int, int | None]], expected: Sequence[tuple[int, Span]]
) -> Iterator[tuple[int, Span]]:
    """Index and span of the tokens that are text."""
    texts = [(index, token) for index, token in content if token is not None]
    ids, wanted = [token for _, token in texts], [token for token, _ in expected]
    if ids == wanted:
        yield from zip((index for index, _ in texts), (span for _, span in expected), strict=True)
        return
    logger.warning(
        "This CLIP makes other tokens of the prompt than ComfyUI's own tokenizer. Words are looked for where "
        "both agree."
    )
    for block in SequenceMatcher(None, ids, wanted, autojunk=False).get_matching_blocks():
        for n in range(block.size):
            yield texts[block.a + n][0], expected[block.b + n][1]


def _count(chunks: Chunks) -> int:
    # Word 0 is what belongs to no word: start, end and padding.
    return sum(word != 0 for chunk in chunks for _, _, word in chunk)


@cache
def _sdxl_tokenizer() -> Any:
    return comfy.sdxl_clip.SDXLTokenizer(embedding_directory=folder_paths.get_folder_paths("embeddings"))
