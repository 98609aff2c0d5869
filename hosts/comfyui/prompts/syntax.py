"""Prompt syntax of ComfyUI: the text of a prompt, and the place of each character in what was written.

Brackets and weights as in `(red:1.3)`, escaped brackets and `embedding:name` are read as ComfyUI's
tokenizer for CLIP reads them (`comfy/sd1_clip.py`), which hands out no positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

EMBEDDING = re.compile(r"(?<!\S)embedding:")
# A name ends at whitespace, < or [; commas at its end are text again.
EMBEDDING_NAME = re.compile(r"embedding:\s*[^\s<\[]*(?<!,)")
# ComfyUI calls itself for each bracket inside another, and fails where Python's stack ends.
DEEPEST = 100
# ComfyUI puts these in the place of escaped brackets while it looks for weights.
ESCAPED = {"\0\1": ")", "\0\2": "("}


class PromptSyntaxError(ValueError):
    """A prompt that ComfyUI's tokenizer cannot read."""


@dataclass(frozen=True)
class PlainPrompt:
    """A prompt without weights and embeddings.

    `offsets`: for each character of `text` its place in the prompt as written. `pieces`: spans of `text` that
    the tokenizer gets one by one, in order; between two pieces may be a space that nobody wrote, because the
    tokenizer never joins letters across them.
    """

    text: str
    offsets: tuple[int, ...]
    pieces: tuple[tuple[int, int], ...]


def read_prompt(prompt: str, *, embeddings: bool = True, weights: bool = True) -> PlainPrompt:
    """The plain text of a prompt; without `embeddings` the word `embedding:name` is text like any other, and
    without `weights` so are brackets.

    Raises `PromptSyntaxError` for `embedding:` without a name, for half a character (a lone surrogate) and
    for brackets more than `DEEPEST` deep.
    """
    if broken := re.search("[\ud800-\udfff]", prompt):
        raise PromptSyntaxError(
            f"Character {broken.start() + 1} of the prompt is half a character, which no tokenizer reads. "
            "Type that word again."
        )
    text: list[str] = []
    offsets: list[int] = []
    pieces: list[tuple[int, int]] = []
    for characters, places in _pieces(prompt, embeddings, weights):
        if text and text[-1].isalnum() and characters[0].isalnum():
            text.append(" ")
            offsets.append(places[0])
        pieces.append((len(text), len(text) + len(characters)))
        text.extend(characters)
        offsets.extend(places)
    return PlainPrompt("".join(text), tuple(offsets), tuple(pieces))


def _pieces(prompt: str, embeddings: bool, weights: bool) -> Iterator[tuple[str, list[int]]]:
    """The texts the tokenizer gets, with the place of each character in the prompt; empty ones left out."""
    escaped = prompt.replace("\\)", "\0\1").replace("\\(", "\0\2")
    whole = (0, len(escaped))
    for start, end in _segments(escaped, *whole) if weights else [whole]:
        characters, places = _unescape(escaped, start, end)
        for first, last in _texts(characters) if embeddings else [(0, len(characters))]:
            if first < last:
                yield characters[first:last], places[first:last]


def _segments(text: str, start: int, end: int, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Spans of one weight each, brackets and weights left out."""
    if depth > DEEPEST:
        raise PromptSyntaxError(
            f"The prompt has brackets inside brackets, more than {DEEPEST} deep, which ComfyUI cannot read. "
            "Write one weight as a number: (red:1.3)."
        )
    for first, last in _bracketed(text, start, end):
        if last - first >= 2 and text[first] == "(" and text[last - 1] == ")":
            weight = _weight_start(text, first + 1, last - 1)
            yield from _segments(text, first + 1, weight, depth + 1)
        else:
            yield first, last


def _bracketed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans inside and outside the outermost brackets; one that never closes is text."""
    begin, level = start, 0
    for place in range(start, end):
        if text[place] == "(":
            if level == 0 and begin < place:
                yield begin, place
                begin = place
            level += 1
        elif text[place] == ")":
            level -= 1
            if level == 0:
                yield begin, place + 1
                begin = place + 1
    if begin < end:
        yield begin, end


def _weight_start(text: str, start: int, end: int) -> int:
    """Place of the weight at the end of a bracket: its colon, or the bracket's end without a weight."""
    colon = text.rfind(":", start, end)
    if colon <= start:
        return end
    try:
        float(text[colon + 1 : end])
    except ValueError:
        return end
    return colon


def _unescape(text: str, start: int, end: int) -> tuple[str, list[int]]:
    characters: list[str] = []
    places: list[int] = []
    place = start
    while place < end:
        bracket = ESCAPED.get(text[place : min(place + 2, end)])
        characters.append(bracket or text[place])
        places.append(place)
        place += 2 if bracket else 1
    return "".join(characters), places


def _texts(segment: str) -> Iterator[tuple[int, int]]:
    """Spans of a segment between its embeddings."""
    bounds = [*(match.start() for match in EMBEDDING.finditer(segment)), len(segment)]
    yield 0, bounds[0]
    for start, end in pairwise(bounds):
        if not segment[start:end].partition(":")[2].strip():
            raise PromptSyntaxError(
                'The prompt has "embedding:" without a name after it, which ComfyUI cannot read. Write the '
                "file name of an embedding right behind it, or remove it."
            )
        name = EMBEDDING_NAME.match(segment, start, end)
        rest = name.end() if name else end
        yield end - len(segment[rest:end].lstrip()), end
