"""A spaCy doc of a prompt as it was written, put together from the parses of its phrases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .prompt_reading import Phrase

# Where a doc notes what a token is read as if that is not its text: "apple" for "ap\u00adple".
READINGS = "instance_composer_readings"
# The spans of a doc that are tags from the list.
TAGS = "instance_composer_tags"


def whole_doc(prompt: str, phrases: Sequence[Phrase], parsed: Sequence[Any], vocab: Any) -> Any:
    """The doc of a prompt whose `phrases` were `parsed` one by one; its text is the prompt.

    What belongs to no phrase is a token without part in the sentence. One phrase that is the whole prompt
    keeps its doc.
    """
    if len(phrases) == 1 and phrases[0].text == prompt:
        (doc,) = parsed
        tags = [(0, len(doc))] if phrases[0].listed else []
    else:
        doc, tags = _joined(prompt, phrases, parsed, vocab)
    doc.spans[TAGS] = [doc[start:end] for start, end in tags]
    return doc


def word_of(token: Any) -> str:
    """A token as it is read."""
    return token.doc.user_data.get(READINGS, {}).get(token.i, token.text)


def listed_tokens(doc: Any) -> frozenset[int]:
    """Indices of the tokens that are tags from the list."""
    return frozenset(token.i for span in doc.spans.get(TAGS, ()) for token in span)


def _joined(
    prompt: str, phrases: Sequence[Phrase], parsed: Sequence[Any], vocab: Any
) -> tuple[Any, list[tuple[int, int]]]:
    from spacy.tokens import Doc

    rows: list[tuple[str, str, str, str, int]] = []
    spaces: list[bool] = []
    readings: dict[int, str] = {}
    tags: list[tuple[int, int]] = []
    written = 0

    def fill(end: int) -> None:
        """The stretch up to `end`, of which no phrase has anything."""
        nonlocal written
        if rows and not spaces[-1] and prompt[written : written + 1] == " " and written < end:
            spaces[-1], written = True, written + 1
        if written < end:
            rows.append((prompt[written:end], "_SP", "SPACE", "dep", max(len(rows) - 1, 0)))
            spaces.append(False)
            written = end

    for phrase, doc in zip(phrases, parsed, strict=True):
        places: list[int] = []
        for token in doc:
            start, end = (
                phrase.spans[token.idx][0],
                phrase.spans[token.idx + len(token) - 1][1],
            )
            fill(start)
            places.append(len(rows))
            if prompt[start:end] != token.text:
                readings[len(rows)] = token.text
            rows.append((prompt[start:end], token.tag_, token.pos_, token.dep_, -1))
            spaces.append(False)
            written = end
        for place, token in zip(places, doc, strict=True):
            rows[place] = (*rows[place][:4], places[token.head.i])
        if phrase.listed:
            tags.append((places[0], places[-1] + 1))
    fill(len(prompt))
    words, fine, parts, labels, heads = (
        ([*column] for column in zip(*rows, strict=True)) if rows else [[]] * 5
    )
    doc = Doc(vocab, words=words, spaces=spaces, tags=fine, pos=parts, deps=labels, heads=heads)
    doc.user_data[READINGS] = readings
    return doc, tags
