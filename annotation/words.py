"""Words to look for in a picture: given by the user, or the nouns of a caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..models.entities.extraction import find_entities
from ..models.entities.pipelines import DEFAULT_PIPELINE, parse

LONGEST = 100


class WordsError(ValueError):
    """A list of words that cannot be looked for."""


def read_words(text: str) -> tuple[str, ...]:
    """Words or short phrases separated by commas, "|" or line breaks; `WordsError` for a sentence."""
    words = tidy(re.split(r"[,|\n]", text))
    if long := next((word for word in words if len(word) > LONGEST), None):
        raise WordsError(
            f'"{long[:40]}…" has {len(long)} characters; words or phrases of up to {LONGEST}, separated by '
            'commas, "|" or line breaks, are looked for'
        )
    return words


def tidy(words: Iterable[str]) -> tuple[str, ...]:
    """Each word once, in lower case, without what separates words for the detector: "." and "?"."""
    plain = (" ".join(re.sub(r"[.?]", " ", word.lower()).split()) for word in words)
    return tuple(dict.fromkeys(word for word in plain if word))


def nouns(captions: Sequence[str], pipeline: str = DEFAULT_PIPELINE) -> list[tuple[str, ...]]:
    """The nouns of each caption that a picture has a region for, found by spaCy.

    Raises `PipelineError` where spaCy or the pipeline is missing.
    """
    docs = parse(captions, pipeline)
    return [tidy(entity.noun for entity in find_entities(doc) if entity.localisable) for doc in docs]
