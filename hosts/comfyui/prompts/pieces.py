"""Pieces of byte-level and SentencePiece vocabularies, and the span of text that each stands for.

Pieces are put together again and compared with the text, so no tokenizer has to hand out positions. A system
prompt around the text is found by tokenizing two texts that have nothing in common.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from itertools import takewhile
from numbers import Integral
from typing import Any

from .syntax import PlainPrompt, read_prompt

Span = tuple[int, int]
NO_TEXT: Span = (0, 0)
# Token, weight, and the word it belongs to, 0 for none: as ComfyUI's tokenizers hand them out.
Token = tuple[Any, float, int]
Tokenize = Callable[[str], Sequence[Token]]

# Two texts without a letter in common, by which what stands around every text is told from the text.
PROBES = ("alpha", "zinc")
WEIGHTED_PROBE = "(zinc:1.3)"
# Stands for a piece of which nobody knows the text; equal to nothing that is written.
UNKNOWN = "\ufffd"
# A blank in pieces of SentencePiece, and in those of byte-level vocabularies.
BLANK, BYTE_BLANK = "\u2581", "\u0120"
# The piece of SentencePiece for what its vocabulary does not have.
UNWRITTEN = "<unk>"


def piece_spans(tokenizer: Any, tokenize: Tokenize, prompt: str) -> tuple[PlainPrompt, list[Span]]:
    """The plain text of a prompt, and for each token the span there; (0, 0) for what stands for no text.

    `tokenizer` is a tokenizer of ComfyUI (`SDTokenizer`), `tokenize` gives its tokens of a text. Whether
    brackets are weights or text is what that tokenizer does with them. Raises `PromptSyntaxError`.
    """
    read = _reader(tokenizer)
    first, second, weighted = (_letters(tokenize(text), read) for text in (*PROBES, WEIGHTED_PROBE))
    before, after = _shared(first, second), _shared(first[::-1], second[::-1])
    plain = read_prompt(
        prompt,
        embeddings=tokenizer.embedding_directory is not None,
        weights="(" not in (letter for letter, _ in weighted[before : len(weighted) - after]),
    )
    tokens = tokenize(prompt)
    pieces = _letters(tokens, read)
    # A text that brings its own system prompt is alone.
    if pieces[:before] == first[:before] and _texts(pieces[len(pieces) - after :]) == _texts(
        first[len(first) - after :]
    ):
        pieces = pieces[before : len(pieces) - after]
    spans = [NO_TEXT] * len(tokens)
    for index, place in _matched(pieces, list(_normal(plain.text))):
        start, end = spans[index] if spans[index] != NO_TEXT else (place, place + 1)
        spans[index] = (min(start, place), max(end, place + 1))
    return plain, spans


def _letters(tokens: Sequence[Token], read: Callable[[int], bytes | None]) -> list[tuple[str, int]]:
    """Normalised letters of the tokens that belong to a text, each with its token's index."""
    found: list[tuple[str, int]] = []
    data, owners = bytearray(), list[int]()

    def flush() -> None:
        place = 0
        for character in data.decode("utf-8", "replace"):
            found.extend((letter, owners[min(place, len(owners) - 1)]) for letter, _ in _normal(character))
            place += len(character.encode())
        data.clear()
        owners.clear()

    for index, (token, _, word) in enumerate(tokens):
        if not word:
            continue
        text = read(int(token)) if isinstance(token, Integral) else b""
        if text is None:
            flush()
            found.append((UNKNOWN, index))
            continue
        data += text
        owners += [index] * len(text)
    flush()
    return found


def _matched(
    pieces: Sequence[tuple[str, int]], written: Sequence[tuple[str, int]]
) -> Iterator[tuple[int, int]]:
    """Token and place in the text of the letters that both have."""
    if _texts(pieces) == _texts(written):
        yield from ((token, place) for (_, token), (_, place) in zip(pieces, written, strict=True))
        return
    matcher = SequenceMatcher(None, _texts(pieces), _texts(written), autojunk=False)
    for block in matcher.get_matching_blocks():
        for n in range(block.size):
            yield pieces[block.a + n][1], written[block.b + n][1]


def _normal(text: str) -> Iterator[tuple[str, int]]:
    """Letters by which pieces and text are compared, with their places: decomposed, in lower case, no blanks.

    Tokenizers compose, fold and drop blanks in ways of their own.
    """
    for place, character in enumerate(text):
        for letter in unicodedata.normalize("NFKD", character).lower():
            if letter == UNKNOWN or unicodedata.category(letter)[0] not in "ZC":
                yield letter, place


def _texts(letters: Iterable[tuple[str, int]]) -> list[str]:
    return [letter for letter, _ in letters]


def _shared(one: Sequence[tuple[str, int]], other: Sequence[tuple[str, int]]) -> int:
    """How many letters two sequences begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0][0] == pair[1][0], zip(one, other, strict=False)))


def _reader(tokenizer: Any) -> Callable[[int], bytes | None]:
    """Id -> what the piece is in UTF-8; None for one that stands for unknown text."""
    vocabulary: Mapping[int, str] = tokenizer.inv_vocab
    if BYTE_BLANK not in vocabulary.values():
        return lambda token: _sentence_piece(vocabulary.get(token, UNWRITTEN))
    letters = _byte_of_letter()

    def read(token: int) -> bytes | None:
        piece = vocabulary.get(token, "")
        return bytes(letters[one] for one in piece) if letters.keys() >= set(piece) else None

    return read


def _sentence_piece(piece: str) -> bytes | None:
    if piece == UNWRITTEN:
        return None
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(BLANK, " ").encode()


@cache
def _byte_of_letter() -> Mapping[str, int]:
    """The byte that each letter stands for in the pieces of byte-level vocabularies (GPT-2's, CLIP's)."""
    return {letter: byte for byte, letter in enumerate(byte_letters())}


@cache
def byte_letters() -> tuple[str, ...]:
    """The letter that stands for each byte in the pieces of byte-level vocabularies."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in shown else next(others)) for byte in range(0x100))
