"""Rivals of a prompt: captions that bind its words otherwise, or have other prompts' words in their place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, permutations
from random import Random
from typing import Any, NamedTuple

from ...models.entities.extraction import find_entities

# A phrase's words stand side by side, so that they can be put together anew.
_GAP = re.compile(r"[ \t]*")
_ARTICLE = re.compile(r"\b(an?)([ \t]+)$", re.IGNORECASE)
_VOWELS = "aeiou"


class _Phrase(NamedTuple):
    """Modifiers and noun of an entity, and their span in the prompt."""

    modifiers: tuple[str, ...]
    noun: str
    start: int
    end: int

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.modifiers, self.noun)


def rival_captions(
    docs: Sequence[Any], count: int, seed: int = 0, *, every_article: bool = False
) -> list[tuple[str, ...]]:
    """Up to `count` captions for each spaCy doc, none of which says what its prompt says.

    By turns two entities exchange a word or all that describes them, or one takes a word of another prompt's
    entity. Prompts with one such entity have rivals of the second kind alone, those without any none.
    Entities take part that are described, by words right before their noun. Drawn from `seed`. An article
    goes by the letter behind it where that word has changed; `every_article` does, as it did in earlier
    versions ("an used car").
    """
    phrases = [_phrases(doc) for doc in docs]
    pool = [phrase for some in phrases for phrase in some]
    return [
        _rivals(doc.text, some, pool, count, Random(f"{seed} {number}"), every_article)
        for number, (doc, some) in enumerate(zip(docs, phrases, strict=True))
    ]


def _phrases(doc: Any) -> list[_Phrase]:
    found: list[_Phrase] = []
    for entity in find_entities(doc):
        words = sorted(entity.words, key=lambda word: word.start)
        side_by_side = all(_GAP.fullmatch(doc.text[one.end : other.start]) for one, other in pairwise(words))
        if entity.modifiers and entity.localisable and side_by_side and words[-1].start == entity.start:
            *modifiers, noun = (doc.text[word.start : word.end] for word in words)
            found.append(_Phrase(tuple(modifiers), noun, words[0].start, words[-1].end))
    # A word that describes two nouns belongs to neither's stretch alone.
    return [one for one in found if not any(two is not one and _overlap(one, two) for two in found)]


def _overlap(one: _Phrase, two: _Phrase) -> bool:
    return one.start < two.end and two.start < one.end


def _rivals(
    text: str,
    phrases: Sequence[_Phrase],
    pool: Sequence[_Phrase],
    count: int,
    random: Random,
    every_article: bool,
) -> tuple[str, ...]:
    exchanges = [*_exchanges(phrases)]
    random.shuffle(exchanges)
    # The order of things does not matter to what a caption says.
    said = {_said(phrases)}
    rivals: list[str] = []
    for turn in range(4 * count):
        if len(rivals) == count or not phrases:
            break
        changed = exchanges.pop() if exchanges and turn % 2 == 0 else _taken(phrases, pool, random)
        if _said(changed) not in said:
            said.add(_said(changed))
            rivals.append(_written(text, changed, () if every_article else phrases))
    return tuple(rivals)


def _said(phrases: Sequence[_Phrase]) -> tuple[Any, ...]:
    return tuple(sorted((tuple(sorted(phrase.modifiers)), phrase.noun) for phrase in phrases))


def _exchanges(phrases: Sequence[_Phrase]) -> list[list[_Phrase]]:
    """All exchanges of nouns, of words in the same place, and of a word that only one of two has."""
    found: list[list[_Phrase]] = []
    for first, second in permutations(range(len(phrases)), 2):
        one, two = phrases[first], phrases[second]
        pairs: list[tuple[_Phrase, _Phrase]] = []
        if first < second:
            pairs.append((one._replace(noun=two.noun), two._replace(noun=one.noun)))
            pairs += [
                (_with(one, place, two.modifiers[place]), _with(two, place, one.modifiers[place]))
                for place in range(min(len(one.modifiers), len(two.modifiers)))
            ]
        if len(one.modifiers) > len(two.modifiers):
            *kept, moved = one.modifiers
            pairs.append(
                (one._replace(modifiers=tuple(kept)), two._replace(modifiers=(*two.modifiers, moved)))
            )
        for one, two in pairs:
            changed = [*phrases]
            changed[first], changed[second] = one, two
            found.append(changed)
    return found


def _taken(phrases: Sequence[_Phrase], pool: Sequence[_Phrase], random: Random) -> list[_Phrase]:
    """One word of one phrase from the same place of any prompt's phrase."""
    changed = [*phrases]
    number = random.randrange(len(phrases))
    own, other = phrases[number], random.choice(pool)
    place = random.randrange(len(own.modifiers) + 1)
    if place < min(len(own.modifiers), len(other.modifiers)):
        changed[number] = _with(own, place, other.modifiers[place])
    elif place == len(own.modifiers):
        changed[number] = own._replace(noun=other.noun)
    return changed


def _with(phrase: _Phrase, place: int, word: str) -> _Phrase:
    return phrase._replace(modifiers=(*phrase.modifiers[:place], word, *phrase.modifiers[place + 1 :]))


def _written(text: str, phrases: Sequence[_Phrase], original: Sequence[_Phrase]) -> str:
    """The prompt with its phrases as they are now, and the articles that they need where they begin otherwise
    than the original ones: sounds are told by letters, which do not tell all."""
    kept = {(one.start, one.words[0]) for one in original}
    for phrase in sorted(phrases, key=lambda one: one.start, reverse=True):
        words, before = " ".join(phrase.words), text[: phrase.start]
        if (phrase.start, phrase.words[0]) not in kept:
            before = _ARTICLE.sub(lambda found, words=words: _article(found, words), before)
        text = before + words + text[phrase.end :]
    return text


def _article(found: re.Match[str], words: str) -> str:
    article = found[1][0] + ("n" if words[0].lower() in _VOWELS else "")
    return article + found[2]
