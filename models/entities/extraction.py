"""Entities of a prompt: nouns with the words that describe them, read from a dependency parse.

Source: CoMat (arXiv 2404.03653), attribute concentration, whose released code finds them in a spaCy parse by
the labels below. Where its rules mistake one word for another ours differ; `docs/entities.md` lists how.
Labels are those of spaCy's English pipelines.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from .plurals import singular_forms
from .whole_doc import listed_tokens, word_of

# Words that describe what they hang on, and are described in turn by such words and by their conjuncts.
MODIFIERS = frozenset({"amod", "nmod", "compound", "npadvmod", "advmod", "acomp"})
NOUNS = frozenset({"NOUN", "PROPN"})
SUBJECTS = frozenset({"nsubj", "nsubjpass"})
RELATIVE_PRONOUNS = frozenset({"WDT", "WP"})
# "a red book and vase": what these words introduce begins a phrase of its own.
OWN_PHRASE = frozenset({"det", "poss", "nummod", "case"})
SEPARATORS = frozenset({",", ";", "|", "."})
LINE_BREAKS = frozenset("\n\r")
STOP_LIST = Path(__file__).with_name("unlocalisable_nouns.txt")


@dataclass(frozen=True)
class Word:
    """A word of a prompt and its character span there."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Entity:
    """A noun and its modifiers.

    `noun` and `modifiers` in lower case, `text` the stretch of the prompt from the first to the last word;
    `start`, `end` the noun's character span, `words` all words in the prompt's order. `number`: which one it
    is of the entities with this noun, from 1. `localisable`: whether a picture has a region for it.
    """

    noun: str
    modifiers: tuple[str, ...]
    text: str
    start: int
    end: int
    words: tuple[Word, ...]
    number: int = 1
    localisable: bool = True


@dataclass(frozen=True)
class EntityTokens:
    """An entity and the indices of its tokens on the text axis, in ascending order.

    `missing`: its words that have no token of their own there, in the prompt's order.
    """

    entity: Entity
    tokens: tuple[int, ...]
    noun_tokens: tuple[int, ...]
    modifier_tokens: tuple[int, ...]
    missing: tuple[Word, ...] = ()


def extract_entities(
    doc: Any, tokens: Sequence[tuple[int, int]], *, stop_list: Collection[str] | None = None
) -> tuple[EntityTokens, ...]:
    """The entities of a spaCy doc with their word pieces.

    `tokens`: for each index of the text axis the character span of that word piece in `doc.text`, as the
    `offset_mapping` of Hugging Face tokenizers has it; (0, 0) for what stands for no text (start, end,
    padding, embeddings). Entities are found whether or not pieces are there for them.
    """
    return locate_entities(find_entities(doc, stop_list=stop_list), tokens)


def locate_entities(
    entities: Iterable[Entity], tokens: Sequence[tuple[int, int]]
) -> tuple[EntityTokens, ...]:
    """Entities with their word pieces; `tokens` as `extract_entities` has them."""
    pieces = _Pieces(tokens)
    return tuple(_locate(entity, pieces) for entity in entities)


def find_entities(doc: Any, *, stop_list: Collection[str] | None = None) -> tuple[Entity, ...]:
    """The entities of a spaCy doc, in the order of their nouns.

    `stop_list`: nouns that get `localisable` False, in lower case and the singular; without one that of
    `unlocalisable_nouns`.
    """
    stop_list = unlocalisable_nouns() if stop_list is None else stop_list
    described = {token: _below(token) for token in doc if _is_entity(token)}
    for token in doc:
        if _is_predicate(token):
            for noun in _subjects(token.head):
                if noun in described:
                    described[noun] += [token, *_below(token)]
    for noun, words in described.items():
        words += _shared(noun)
    listed = listed_tokens(doc)
    return numbered(
        make_entity(noun, words, stop_list, noun.i in listed) for noun, words in described.items()
    )


def numbered(entities: Iterable[Entity]) -> tuple[Entity, ...]:
    """Entities in the order of their nouns, those with the same noun numbered from 1."""
    counts: Counter[str] = Counter()
    found: list[Entity] = []
    for entity in sorted(entities, key=lambda one: one.start):
        counts[entity.noun] += 1
        found.append(replace(entity, number=counts[entity.noun]))
    return tuple(found)


@cache
def unlocalisable_nouns() -> frozenset[str]:
    """Nouns without a region of their own in a picture, from the text file beside this module."""
    lines = (line.partition("#")[0] for line in STOP_LIST.read_text(encoding="utf-8").splitlines())
    return frozenset(word.lower() for line in lines for word in line.split())


def make_entity(
    noun: Any, words: Iterable[Any], stop_list: Collection[str] = (), listed: bool = False
) -> Entity:
    """The entity of a noun and its describing words, tokens of a doc."""
    name = word_of(noun).lower()
    # Parsers take a bracket for an adjective at times.
    with_letters = {word for word in words if any(map(str.isalnum, word.text))}
    ordered = sorted({noun, *with_letters}, key=lambda word: word.i)
    spans = tuple(Word(word_of(word), word.idx, word.idx + len(word)) for word in ordered)
    return Entity(
        noun=name,
        modifiers=tuple(word_of(word).lower() for word in ordered if word != noun),
        text=noun.doc.text[spans[0].start : spans[-1].end],
        start=noun.idx,
        end=noun.idx + len(noun),
        words=spans,
        localisable=not listed and singular_forms(name).isdisjoint(stop_list),
    )


class _Pieces:
    """Word pieces by their place in the text."""

    def __init__(self, tokens: Sequence[tuple[int, int]]) -> None:
        self._pieces = sorted((start, end, n) for n, (start, end) in enumerate(tokens) if start < end)
        # The farthest end so far only grows: where a word's first piece is, is found by bisection.
        self._ends = list(accumulate((end for _, end, _ in self._pieces), max))

    def of(self, word: Word) -> set[int]:
        """The indices of the pieces that have a character of a word."""
        found: set[int] = set()
        for place in range(bisect_right(self._ends, word.start), len(self._pieces)):
            start, end, index = self._pieces[place]
            if start >= word.end:
                break
            if end > word.start:
                found.add(index)
        return found


def _locate(entity: Entity, pieces: _Pieces) -> EntityTokens:
    found = {word: pieces.of(word) for word in entity.words}
    noun = next((indices for word, indices in found.items() if word.start == entity.start), set())
    modifiers = {index for indices in found.values() for index in indices} - noun
    missing = tuple(
        word
        for word, indices in found.items()
        if not (indices if word.start == entity.start else indices - noun)
    )
    return EntityTokens(
        entity, tuple(sorted(noun | modifiers)), tuple(sorted(noun)), tuple(sorted(modifiers)), missing
    )


def _is_entity(token: Any) -> bool:
    named = any(character.isalpha() for character in token.text)
    return named and token.pos_ in NOUNS and not _describes(token)


def _describes(token: Any) -> bool:
    """Whether a word says something of a noun, at once or through other words that do."""
    while True:
        if token.dep_ == "conj":
            if _begins_phrase(token):
                return False
        elif _is_predicate(token):
            return True
        elif not _is_modifier(token):
            return False
        elif token.head.pos_ in NOUNS:
            return True
        token = token.head


def _is_modifier(token: Any) -> bool:
    """Whether a word modifies its head; the label alone also covers places and asides."""
    if token.pos_ == "ADJ" and token.dep_ == "nsubj":
        # "a blue checked cross": the participle is taken for a verb, and the colour for what did it.
        return token.head.dep_ == "amod"
    if token.dep_ not in MODIFIERS:
        return False
    if token.dep_ == "advmod":
        # The degree, as in "very tall"; "a tree nearby" and "next to" tell a place.
        return token.head.pos_ not in NOUNS and not any(child.dep_ == "prep" for child in token.children)
    # "woman, portrait": parsers join the items of a list of keywords.
    return token.pos_ not in NOUNS or not _apart(token)


def _apart(token: Any) -> bool:
    """Whether a comma, a line break or the like stands between a word and its head."""
    first, last = sorted((token.i, token.head.i))
    between = token.doc[first + 1 : last]
    return any(word_of(word) in SEPARATORS or not LINE_BREAKS.isdisjoint(word.text) for word in between)


def _below(word: Any) -> list[Any]:
    """The words that describe a word, and the words that describe those."""
    found: list[Any] = []
    rest = [word]
    while rest:
        head = rest.pop()
        more = [
            child
            for child in head.children
            if _is_modifier(child)
            or (
                child.dep_ == "conj"
                and (head is not word or _is_predicate(head))
                and not _begins_phrase(child)
            )
        ]
        found += more
        rest += more
    return found


def _begins_phrase(token: Any) -> bool:
    return any(child.dep_ in OWN_PHRASE for child in token.children)


def _is_predicate(token: Any) -> bool:
    """Whether a word describes a subject through its verb, as in "the dog is red", "a door painted red"."""
    verb = token.head
    if verb.pos_ not in ("AUX", "VERB") or any(child.dep_ == "neg" for child in verb.children):
        return False
    if token.pos_ == "ADJ":
        return token.dep_ in ("acomp", "oprd") or (token.dep_ == "dobj" and not _begins_phrase(token))
    # "the mouse is grey": a noun that stands bare after "is" is a quality, "a poodle" would be a thing.
    bare = token.tag_ == "NN" and not any(child.dep_ in OWN_PHRASE | {"prep"} for child in token.children)
    return verb.pos_ == "AUX" and token.dep_ in ("acomp", "attr") and (bare or token.pos_ == "VERB")


def _subjects(verb: Any) -> list[Any]:
    """The nouns a verb speaks of: its subject and conjuncts, or the noun that its clause describes."""
    while True:
        subject = next((child for child in verb.children if child.dep_ in SUBJECTS), None)
        if subject is not None and subject.tag_ not in RELATIVE_PRONOUNS:
            return [subject, *(word for word in subject.conjuncts if word.i < verb.i)]
        if verb.dep_ in ("relcl", "acl"):
            return [verb.head]
        if verb.dep_ != "conj":
            return []
        verb = verb.head


def _shared(noun: Any) -> list[Any]:
    """The adjectives of "a red book and vase", which hold for the vase too.

    So where one determiner opens the phrase and the second noun, of the same number, has nothing of its own.
    """
    first = noun.head
    if noun.dep_ != "conj" or first.tag_ != noun.tag_ or any(True for _ in noun.lefts) or _apart(noun):
        return []
    if not any(child.dep_ == "det" for child in first.lefts):
        return []
    adjectives = [child for child in first.lefts if child.dep_ == "amod"]
    return [word for adjective in adjectives for word in (adjective, *_below(adjective))]
