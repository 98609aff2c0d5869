"""Words that a layout's captions give to a prompt's entities, where the prompt has the same words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .extraction import (
    Entity,
    find_entities,
    make_entity,
    numbered,
    unlocalisable_nouns,
)
from .pipelines import DEFAULT_PIPELINE, parse
from .plurals import singular_forms
from .whole_doc import listed_tokens, word_of

# A caption of more words is a sentence, whose noun is not its last word.
LONGEST = 6
NO_ATTRIBUTES = frozenset({"DET", "NUM", "PRON"})
BARE = frozenset({"ADJ", "ADV", "AUX", "NOUN", "PROPN", "VERB", "X"})


@dataclass(frozen=True)
class Subject:
    """What a caption is about: a noun and the words that stand before it, in lower case."""

    noun: str
    before: tuple[str, ...]


def subject_of(caption: Any) -> Subject | None:
    """The subject of a parsed caption, None if it has no noun.

    A few bare words are a noun and what describes it, whatever the parser takes them for ("a blue checked
    cross", "a yellow fire hydrant"). Of anything else the parse tells.
    """
    entities = find_entities(caption)
    words = [token for token in caption if not token.is_space]
    while words and words[0].pos_ in NO_ATTRIBUTES:
        del words[0]
    if _are_bare(words) and not (entities and words[-1].pos_ == "VERB") and not listed_tokens(caption):
        *before, noun = (word_of(word).lower() for word in words)
        return Subject(noun, tuple(before))
    if not entities:
        return None
    first = entities[0]
    return Subject(first.noun, tuple(word.text.lower() for word in first.words if word.start < first.start))


def _are_bare(words: Sequence[Any]) -> bool:
    """Whether these are words that describe and, at the end, what may be a noun."""
    texts = [word_of(word).lower() for word in words]
    if not 0 < len(words) <= LONGEST or not all(map(str.isalpha, texts)):
        return False
    if any(word.pos_ not in BARE for word in words) or any(text.endswith("ing") for text in texts):
        return False
    # "shiny red" has no noun; among the words of a misread verb there is one.
    quality = words[-1].pos_ == "ADJ" and all(word.pos_ != "VERB" for word in words)
    return not quality and not texts[-1].endswith(("ed", "ly"))


def named_entities(
    text: str, captions: Sequence[str], pipeline: str = DEFAULT_PIPELINE
) -> tuple[Entity, ...]:
    """The entities of a prompt's text, where captions tell what its words are about.

    What a caption is about has a region: the stop list does not count for its noun. Raises `PipelineError` as
    `parse` does.
    """
    doc, *described = parse([text, *captions], pipeline)
    subjects = [subject for caption in described if (subject := subject_of(caption))]
    drawn = {form for subject in subjects for form in singular_forms(subject.noun)}
    return take_words(find_entities(doc, stop_list=unlocalisable_nouns() - drawn), doc, subjects)


def take_words(entities: Iterable[Entity], doc: Any, subjects: Iterable[Subject]) -> tuple[Entity, ...]:
    """The entities of a parsed prompt, corrected where a caption has the same words one after the other.

    There the caption tells which word is the noun and which ones describe it, however the prompt was parsed.
    """
    found = list(entities)
    tokens = [token for token in doc if any(map(str.isalnum, token.text))]
    texts = [word_of(token).lower() for token in tokens]
    taken: set[int] = set()
    for subject in sorted(set(subjects), key=lambda one: (-len(one.before), one.noun, one.before)):
        run = [*subject.before, subject.noun]
        for start in _places(texts, run):
            stretch = range(start, start + len(run))
            if taken.isdisjoint(stretch):
                taken.update(stretch)
                found = _corrected(found, [tokens[index] for index in stretch])
    return numbered(found)


def _places(texts: Sequence[str], run: Sequence[str]) -> list[int]:
    return [
        start
        for start in range(len(texts) - len(run) + 1)
        if texts[start] == run[0] and texts[start : start + len(run)] == run
    ]


def _corrected(entities: Iterable[Entity], stretch: Sequence[Any]) -> list[Entity]:
    """Entities with the one whose noun is the last word of a stretch and is described by the others."""
    *words, noun = stretch
    starts = {token.idx for token in stretch}
    by_start = {token.idx: token for token in noun.doc}
    kept: list[Entity] = []
    for entity in entities:
        if entity.start == noun.idx:
            words += [by_start[word.start] for word in entity.words]
        elif entity.start not in starts:
            kept.append(_without(entity, starts))
    return [*kept, make_entity(noun, words)]


def _without(entity: Entity, starts: Collection[int]) -> Entity:
    """An entity without the words that begin at some places."""
    words = tuple(word for word in entity.words if word.start not in starts)
    modifiers = tuple(word.text.lower() for word in words if word.start != entity.start)
    return replace(entity, words=words, modifiers=modifiers)
