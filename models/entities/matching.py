"""Matching of a prompt's entities with a layout's instances: by words, or as the artist says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from ...layout import Instance, Layout
from ...layout.choosing import find_instance
from .plurals import same_word
from .prompt_reading import read_phrases

# Marks that no letter is written in one with are parts of a word too.
_LETTERS = r"\w[\w\u0300-\u036f]*"
WORD = re.compile(rf"{_LETTERS}(?:['\u2019-]{_LETTERS})*")
NOTHING = ("none", "-")
MOST_DIGITS = 9


class Named(Protocol):
    """An entity, as far as matching looks at it."""

    @property
    def noun(self) -> str: ...
    @property
    def modifiers(self) -> tuple[str, ...]: ...
    @property
    def text(self) -> str: ...


class OverrideError(ValueError):
    """A line of the overrides that names no entity or no instance."""


def match_entities(
    entities: Sequence[Named], layout: Layout, overrides: Mapping[int, int | None] | None = None
) -> dict[int, int]:
    """Entity index -> index among `layout.instances`; entities without an instance are left out.

    An instance whose caption has the entity's noun is a candidate, singular and plural alike, be it the last
    part of a word with hyphens: parsers take "t-shirt" apart. Of several the one that has most of its
    modifiers wins, then the one with fewest other words, then the first. Entities with the same noun take
    different instances, in their order in the prompt where words do not tell.
    Disabled instances and ones without caption do not count. `overrides` win over words; None means no
    instance.
    """
    overrides = overrides or {}
    matched = {entity: instance for entity, instance in overrides.items() if instance is not None}
    scores = sorted(
        (*_score(entity, instance), index, position)
        for index, entity in enumerate(entities)
        if index not in overrides
        for position, instance in enumerate(layout.instances)
        if instance.active and _is_named(entity.noun, _words(instance.caption))
    )
    taken: dict[int, list[str]] = {}
    for index, position in matched.items():
        taken.setdefault(position, []).append(entities[index].noun)
    for *_, index, position in scores:
        noun, others = entities[index].noun, taken.setdefault(position, [])
        if index not in matched and not any(same_word(noun, other) for other in others):
            matched[index] = position
            others.append(noun)
    return dict(sorted(matched.items()))


def read_overrides(text: str, entities: Sequence[Named], layout: Layout) -> dict[int, int | None]:
    """Overrides for `match_entities` from lines "entity = instance".

    An entity is named by its words or its noun as in the prompt, the second of a repeated one by "vase 2". An
    instance is named by its place in the layout from 1, or its id; "none" or "-" for no instance. Blank lines
    and lines that begin with # are left out. Raises `OverrideError` for anything else.
    """
    overrides: dict[int, int | None] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, place = (part.strip() for part in line.rpartition("="))
        if not equals or not name or not place:
            raise OverrideError(f"{line.strip()!r} is not an override; write one as: red book = 2")
        overrides[_find_entity(name, entities)] = _find_instance(place, layout)
    return overrides


def _find_entity(name: str, entities: Sequence[Named]) -> int:
    wanted, number = _as_read(name), 1
    for exact in (True, False):
        if not exact:
            base, _, last = wanted.rpartition(" ")
            # More digits than any count has; of thousands Python reads no number.
            if not base or not last.isdecimal() or len(last) > MOST_DIGITS:
                break
            wanted, number = base, int(last)
        for names in (_names, _noun_as_written):
            found = [index for index, entity in enumerate(entities) if wanted in names(entity)]
            if 1 <= number <= len(found):
                return found[number - 1]
    known = ", ".join(repr(entity.text) for entity in entities) or "there are none"
    raise OverrideError(f"no entity of the prompt is called {name!r}; the entities are: {known}")


def _names(entity: Named) -> tuple[str, ...]:
    words = " ".join((*entity.modifiers, entity.noun))
    return _as_read(entity.text), _as_read(words), _as_read(entity.noun)


def _noun_as_written(entity: Named) -> tuple[str, ...]:
    """The word with hyphens whose last part is the noun, where there is one: parsers take "t-shirt" apart."""
    last = _as_read(entity.text).rpartition(" ")[2]
    return (last,) if last.endswith(f"-{_as_read(entity.noun)}") else ()


@lru_cache(maxsize=4096)
def _as_read(text: str) -> str:
    """A name as prompts are read, whatever signs it is written with; capitals do not count."""
    lower = text.casefold()
    return " ".join(phrase.text for phrase in read_phrases(lower).phrases) or lower


def _find_instance(place: str, layout: Layout) -> int | None:
    if place.casefold() in NOTHING:
        return None
    index = find_instance(layout, place)
    if index is not None:
        return index
    ids = [instance.id for instance in layout.instances]
    raise OverrideError(
        f"the layout has no instance {place!r}; name one by its number from 1 to {len(ids)} or by its id "
        f"({', '.join(ids) or 'there are none'}), or write none"
    )


def _score(entity: Named, instance: Instance) -> tuple[int, int]:
    """Smaller is better."""
    words = _words(instance.caption)
    own = [word for part in (*entity.modifiers, entity.noun) for word in _words(part)]
    modifiers = sum(_has(modifier, words) for modifier in entity.modifiers)
    return -modifiers, sum(not _is_own(word, own) for word in words)


def _is_named(noun: str, words: Sequence[str]) -> bool:
    """Whether a noun is among words; of a "hat-stand" the noun is "stand"."""
    return all(
        any(same_word(part, one) for word in words for one in (word, _parts(word)[-1]))
        for part in _words(noun)
    )


def _has(modifier: str, words: Sequence[str]) -> bool:
    """Whether all words of a modifier are among words or their parts."""
    return all(
        any(same_word(part, one) for word in words for one in (word, *_parts(word)))
        for part in _words(modifier)
    )


def _is_own(word: str, own: Sequence[str]) -> bool:
    """Whether a word of a caption is one of an entity's, in one piece or in several."""
    return any(same_word(word, one) for one in own) or all(
        any(same_word(part, one) for one in own) for part in _parts(word)
    )


def _parts(word: str) -> list[str]:
    """What a parser makes of a word with hyphens."""
    return word.split("-")


@lru_cache(maxsize=4096)
def _words(text: str) -> tuple[str, ...]:
    """The words of a caption or a phrase, read as prompts are: tags and blanks of every kind."""
    read = "\n".join(phrase.text for phrase in read_phrases(text).phrases)
    return tuple(WORD.findall(read.casefold()))
