"""Which captions of a layout its prompt names, and the prompt with those it does not.

A prompt that names other things and leaves one out makes models leave it out, adapter or not: see
docs/layout.md. No parser of sentences is needed, so it is the same on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from ...layout import Instance, Layout
from .matching import WORD
from .plurals import same_word, singular_forms
from .prompt_reading import read_phrases

ARTICLES = re.compile(
    "an?|the|one|two|three|four|five|six|seven|eight|nine|ten|several|some|his|her|their|its|my|our"
)
ENDS = re.compile(
    "or|with|without|in|on|at|of|by|for|from|to|into|onto|over|under|above|below|behind|beside|between|near"
    "|next|inside|outside|through|across|against|around|along|among|while|as|has|have|that|which|who"
    "|wearing|holding"
)
COPULAS = re.compile("is|are|was|were")
# Words that end as a participle does and are things.
THINGS = re.compile(
    "(?:k|r|w|str|th|spr|sw|sl|earr)ing|(?:build|ceil|paint|draw|cloth|wedd|pudd|sibl|duckl|lightn|even|morn"
    "|rail|carv)ing"
)
TOKEN = re.compile(rf"{WORD.pattern}|[^\w\s]|\n")
# Scripts that put no blanks between words.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
AT_THE_END = " \t\r\n,.;，。；、"


@dataclass(frozen=True)
class _Run:
    """Words that belong together, in their order; `said` are those that "is" adds behind them."""

    words: tuple[str, ...]
    said: tuple[str, ...] = ()


def find_unnamed(layout: Layout) -> tuple[Instance, ...]:
    """The active instances whose caption the prompt does not name, in their order.

    A caption is named where the prompt has its noun, singular or plural, with all the words that stand
    before it in the caption. Captions with the same words are one. What follows the noun ("with a red
    collar", "sitting in the snow") need not be there.
    """
    nouns = {
        form
        for one in layout.active
        if (run := _subject(one.caption)) is not None
        for form in singular_forms(run.words[-1])
    }
    runs = [part for run in _runs(layout.prompt) for part in _split(run, nouns)]
    prompt = _plain(layout.prompt)
    found: list[tuple[Instance, tuple[str, ...]]] = []
    for one in layout.active:
        subject, whole = _subject(one.caption), _plain(one.caption)
        if not whole or _holds(prompt, whole) or any(_are_same(whole, other) for _, other in found):
            continue
        if subject is None or not any(_names(run, subject) for run in runs):
            found.append((one, whole))
    return tuple(one for one, _ in found)


def join_captions(layout: Layout) -> str:
    """The prompt with the captions that it does not name behind it."""
    missing = [one.caption.strip(AT_THE_END) for one in find_unnamed(layout)]
    if not missing:
        return layout.prompt
    return ", ".join([*([layout.prompt.rstrip(AT_THE_END)] if layout.prompt.strip() else []), *missing])


def _names(run: _Run, subject: _Run) -> bool:
    *attributes, noun = subject.words
    return any(
        same_word(word, noun) and all(_has(one, run.words[:place] + run.said) for one in attributes)
        for place, word in enumerate(run.words)
    )


def _has(attribute: str, words: Sequence[str]) -> bool:
    return any(same_word(attribute, word) for word in words)


def _subject(caption: str) -> _Run | None:
    return next(_runs(caption), None)


def _plain(text: str) -> tuple[str, ...]:
    """A text's words alone."""
    phrases = read_phrases(text).phrases
    return tuple(word for phrase in phrases for word in WORD.findall(phrase.text.casefold()))


def _holds(text: Sequence[str], words: Sequence[str]) -> bool:
    """Whether a text has these words one after the other."""
    if UNSPACED.search("".join(words)):
        return " ".join(words) in " ".join(text)
    # Bit n of `held`: the n + 1 first words end here. So a text of many repetitions takes no longer either.
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        for form in singular_forms(word):
            places[form] = places.get(form, 0) | 1 << place
    held, last = 0, 1 << (len(words) - 1)
    for word in text:
        here = 0
        for form in singular_forms(word):
            here |= places.get(form, 0)
        held = (held << 1 | 1) & here
        if held & last:
            return True
    return False


def _are_same(some: Sequence[str], others: Sequence[str]) -> bool:
    # From behind, where captions have their nouns, which differ most.
    return len(some) == len(others) and all(map(same_word, reversed(some), reversed(others)))


def _split(run: _Run, nouns: Set[str]) -> Iterator[_Run]:
    """The parts of a run that end with one of these nouns each: "red fox black dog" are two things."""
    start = 0
    for place, word in enumerate(run.words):
        if not nouns.isdisjoint(singular_forms(word)):
            yield _Run(run.words[start : place + 1], run.said)
            start = place + 1


def _runs(text: str) -> Iterator[_Run]:
    """Runs of words between articles, small words and punctuation; "red and white cat" is one."""
    for phrase in read_phrases(text).phrases:
        tokens = [token.casefold() for token in TOKEN.findall(phrase.text)]
        yield from _runs_of(tokens)


def _runs_of(tokens: Sequence[str]) -> Iterator[_Run]:
    words: list[str] = []
    said: list[str] | None = None  # words behind "is", once it was said
    since = 0  # words since the last comma or "and"
    for token in [*tokens, "."]:
        joint = token in (",", "and", "&")
        small = ARTICLES.fullmatch(token) or ENDS.fullmatch(token) or not WORD.fullmatch(token)
        if joint and since == 1 and said is None:
            since = 0  # "red and white cat"
        elif joint and said:
            pass  # "is red and white"
        elif COPULAS.fullmatch(token) and words and said is None:
            said = []
        elif said is not None and not small and not joint:
            said.append(token)
        elif small or joint or COPULAS.fullmatch(token) or (words and _is_participle(token)):
            if words:
                yield _Run(tuple(words), tuple(said or ()))
            words, said, since = [], None, 0
        else:
            words.append(token)
            since += 1


def _is_participle(word: str) -> bool:
    return word.endswith("ing") and THINGS.fullmatch(word) is None
