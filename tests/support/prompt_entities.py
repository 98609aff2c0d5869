"""Entities of a prompt written by hand, for tests that need no parser."""

from __future__ import annotations

from instance_composer.models.entities.extraction import Entity, EntityTokens, Word

# The CLIP tokens of this prompt are its words and its comma, the first one at 1.
PROMPT = "a red book, a yellow vase and a blue cup"
WORDS = {"red book": (2, 3), "yellow vase": (6, 7), "blue cup": (10, 11)}


def entity(text: str, *tokens: int, localisable: bool = True) -> EntityTokens:
    """An entity whose last word is its noun, one token a word."""
    *modifiers, noun = text.split()
    ends = [sum(len(word) + 1 for word in text.split()[: n + 1]) - 1 for n in range(len(text.split()))]
    words = tuple(Word(word, end - len(word), end) for word, end in zip(text.split(), ends, strict=True))
    last = words[-1]
    made = Entity(noun, tuple(modifiers), text, last.start, last.end, words, localisable=localisable)
    return EntityTokens(made, tokens, tokens[-1:], tokens[:-1])


def entities_of_prompt() -> tuple[EntityTokens, ...]:
    return tuple(entity(text, *tokens) for text, tokens in WORDS.items())
