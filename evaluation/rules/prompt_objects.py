"""Objects and relation that T2I-CompBench's scorers read from a prompt parsed by spaCy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

# The first that is part of the prompt counts.
RELATIONS_2D = (
    "on side of",
    "next to",
    "near",
    "on the left of",
    "on the right of",
    "on the bottom of",
    "on the top of",
    "on top of",
)
RELATIONS_3D = ("in front of", "behind", "hidden")
_PEOPLE = frozenset({"girl", "boy", "man", "woman"})
# What sets two objects of a longer prompt in relation, tried from the longest.
_BETWEEN = frozenset(
    {"on top of", "on bottom of", "on the left", "on the right", "next to", "on side of", "near"}
)
_LONGEST = 3


class Objects(NamedTuple):
    """What a prompt sets in relation; None for what it does not name."""

    first: str | None
    second: str | None
    relation: str | None


def simple_objects(doc: Any, relations: Sequence[str] = RELATIONS_2D) -> Objects:
    """Of a prompt of two things: its first and its last noun, people as "person"."""
    nouns = [token.text for token in doc if token.pos_ == "NOUN"]
    named = ["person" if noun in _PEOPLE else noun for noun in nouns]
    first, last = (named[0], named[-1]) if named else (None, None)
    return Objects(first, last, find_relation(doc.text, relations))


def complex_objects(doc: Any) -> Objects:
    """Of a longer prompt: the nouns around the words of relation, none unless they are exactly two."""
    found: list[str] = []
    tokens = list(doc)
    for place in range(len(tokens)):
        for length in range(_LONGEST, 0, -1):
            if " ".join(token.text for token in tokens[place : place + length]) in _BETWEEN:
                found += _around(tokens, place, place + length)
                break
    first, second = found if len(found) == 2 else (None, None)
    return Objects(first, second, find_relation(doc.text))


def find_relation(text: str, relations: Sequence[str] = RELATIONS_2D) -> str | None:
    """The first of the relations that a text contains."""
    return next((relation for relation in relations if relation in text), None)


def _around(tokens: Sequence[Any], start: int, end: int) -> list[str]:
    before = [token.text for token in tokens[:start] if token.pos_ in ("NOUN", "PROPN")]
    after = [token.text for token in tokens[end:] if token.pos_ == "NOUN"]
    if not after:
        names = [
            token.text
            for token, following in zip(tokens[end:], [*tokens[end + 1 :], None], strict=True)
            if token.pos_ == "PROPN" and (following is None or following.pos_ != "PROPN")
        ]
        after = names[:1]
    return [*before[-1:], *after[:1]]
