"""Prompts as a parser of sentences reads them: words alone, each with its place in what was written.

People write prompts for several programs: blanks of every script and characters without a width, tags with
underscores, `<lora:…>`, weights, `[from:to:when]`, BREAK, `--ar 16:9`, lists of quality tags. Such syntax is
no sentence. Here it becomes blanks and commas, and tags become phrases of their own. Linear in the length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from pathlib import Path

TAG_LIST = Path(__file__).with_name("unlocalisable_tags.txt")

# Characters that look like a blank and are none by their category: Hangul fillers, the empty braille pattern,
# the zero-width space, the byte order mark.
LIKE_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u200b\ufeff")
# Marks without a look of their own: variation selectors, the combining grapheme joiner.
SELECTORS = re.compile("[\u034f\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Stands, while a text is read, for a comma with a blank behind it. No text has it: it would be a blank.
COMMA = "\1"
# Punctuation of other scripts, and what decorates words.
ALIKE = {
    **dict(zip("（）［］｛｝【】：｜＿", "()[]{}[]:|_", strict=True)),
    **dict.fromkeys("，、；。；،", COMMA),
    # Apostrophes and hyphens as phones, word processors and chat models write them.
    **dict.fromkeys("\u2019\u02bc", "'"),
    **dict.fromkeys("\u2010\u2011", "-"),
    **dict.fromkeys("*~#`^", " "),
}

NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
# What other programs write below a prompt when it is copied from them.
PARAMETERS = re.compile(r"(?<!\S)(?:Negative prompt:|Steps: *\d+, *[A-Z]).*", re.DOTALL)
# <lora:name:0.8> and its like, embeddings by name, __wildcards__ that nothing has replaced.
NAMED_FILES = re.compile(
    r"<[A-Za-z]\w*:[^<>\n]*>|<\|\w+\|>|(?<!\w)embedding:\s*[^\s<\[(),]+|(?<!\w)__[\w/*.-]*[^\W_]__(?!\w)"
)
# Switches of Midjourney and programs like it; a dash of two may have become a long one. What is not wanted
# reaches to the next switch.
WORD_VALUES = "style|sref|cref|oref|sampler|profile|p|model"
SWITCH = re.compile(
    rf"(?<!\S)(?:--|—(?=(?:ar|no|v|q|s|niji|seed|chaos|stylize|{WORD_VALUES})\b))(?:"
    r"(?:no|neg|negative|negative_prompt)\b(?:(?!\s(?:--|—))[^\n])*"
    rf"|(?:{WORD_VALUES})[ =]+(?!--)\S+"
    rf"|[A-Za-z][\w-]*(?:=\S+|[ \t]+{NUMBER}(?:[:/x]\d+)?(?![^\s,;])|))"
)
JOINTS = re.compile(
    r"(?<![^\s,.;()\[\]])(?:BREAK|AND(?:_PERP|_SALT|_TOPK)?|ADDCOMM|ADDBASE|ADDROW|ADDCOL)(?![^\s,.;:()\[\]])"
)
# Weights of Midjourney, which end a phrase; at the end of a bracket, without one, behind one; ++.
PHRASE_WEIGHT = re.compile(rf"::(?:{NUMBER})?(?!\s*[\d.)\]}}])")
WEIGHT = re.compile(
    rf"::?\s*{NUMBER}\s*(?=[)\]}}])"
    rf"|(?<![\s:\d]):{NUMBER}(?![\w%])"
    r"|(?<=[\d\s]):[+-]?\d*\.\d+(?![\w%])"
    r"|(?<=\))(?:\d*\.\d+|[+-]+)(?!\w)"
    r"|(?<=[\w)])(?:\++|--+)(?![^\s,.;:|)\]}])"
)
CHOICES = re.compile(r"(?<=\{)\d+(?:-\d+)?\$\$")
ESCAPES = re.compile(r"\\(?=[()\[\]{}<>|:_-])")
UNDERSCORES = re.compile(r"(?<=[^\W_])_+(?=[\w(])|(?<=[)])_+(?=\w)")
UNDERSCORED = re.compile(r"[^\W_]_+[^\W_]")
KEYWORD = re.compile(r"[^,\n\1]+")
# A keyword with one of these is a piece of a sentence.
IN_SENTENCES = re.compile(
    r"(?:a|an|the|this|that|these|those|and|or|but|by|with|without|to|from|under|over|behind|beside|near|next"
    r"|is|are|was|were|be|has|have|which|who|whose|his|her|its|their|while|as|in)"
)
LONGEST_TAG = 4


@dataclass(frozen=True)
class Phrase:
    """Words that are parsed together: `text`, and of each of its characters the span in the prompt.

    `listed`: whether it is a tag from the list, which names nothing that has a place in the picture.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    listed: bool = False


@dataclass(frozen=True)
class Reading:
    """The phrases of a prompt in order, and the parts that are no words, as they were written."""

    phrases: tuple[Phrase, ...]
    left_out: tuple[str, ...] = ()


@dataclass
class _Text:
    """A prompt on the way: its characters, and the span that each has in what was written."""

    characters: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def __str__(self) -> str:
        return "".join(self.characters)

    def add(self, character: str, place: int) -> None:
        """Put a character behind the others, as one with the letter before it where Unicode has them in one.

        So names of files on a Mac and text out of PDFs read as what is typed.
        """
        # Below it nothing composes, and of most prompts all is below.
        if character >= "\u0300" and self.spans and self.spans[-1][1] == place:
            whole = unicodedata.normalize("NFC", self.characters[-1] + character)
            if len(whole) == 1:
                self.characters[-1], self.spans[-1] = whole, (self.spans[-1][0], place + 1)
                return
        self.characters.append(character)
        self.spans.append((place, place + 1))

    def blank(self, start: int, end: int, by: str = " ") -> None:
        """Write a character over a stretch, which keeps its length."""
        self.characters[start:end] = by + " " * (end - start - 1)


def read_phrases(prompt: str) -> Reading:
    """The phrases of a prompt: what a parser of sentences should see of it."""
    text = _Text()
    for place, character in enumerate(prompt):
        seen = _seen(character)
        if seen:
            text.add(seen, place)
    left_out: list[str] = []
    for pattern in (PARAMETERS, NAMED_FILES, SWITCH):
        for match in pattern.finditer(str(text)):
            first, last = text.spans[match.start()][0], text.spans[match.end() - 1][1]
            left_out.append(" ".join(prompt[first:last].split()))
            text.blank(*match.span())
    for match in JOINTS.finditer(str(text)):
        text.blank(*match.span(), by=COMMA)
    _open_brackets(text)
    keywords = str(text)
    for match in UNDERSCORES.finditer(keywords):
        text.blank(*match.span())
    return Reading(tuple(_phrases(text, keywords)), tuple(left_out))


@cache
def _tag_pattern() -> re.Pattern[str]:
    lines = (line.partition("#")[0].strip() for line in TAG_LIST.read_text(encoding="utf-8").splitlines())
    return re.compile("|".join(translate(line.lower()) for line in lines if line))


def _seen(character: str) -> str:
    """A character as it is read: a blank for every kind of blank, nothing for what nobody sees."""
    if character in ALIKE:
        return ALIKE[character]
    if character in "\t\n\r" or " " <= character < "\x7f":
        return "\n" if character == "\r" else character
    category = unicodedata.category(character)
    # Symbols such as emoji name nothing to a parser, and mislead it about what stands beside them.
    if category in ("Zs", "Zl", "Zp", "Cc", "So") or character in LIKE_BLANKS:
        return " "
    return "" if category == "Cf" or SELECTORS.match(character) else character


def _open_brackets(text: _Text) -> None:
    """Blanks for weights and the brackets that carry them, commas between alternatives."""
    for pattern, by in ((CHOICES, " "), (PHRASE_WEIGHT, COMMA)):
        for match in pattern.finditer(str(text)):
            text.blank(*match.span(), by)
    written = str(text)
    weights = {match.start(): match.end() for match in WEIGHT.finditer(written)}
    for start, end in weights.items():
        text.blank(start, end)
    escaped = {match.end() for match in ESCAPES.finditer(written)}
    for place in escaped:
        text.blank(place - 1, place)
    ends = set(weights.values())
    square, opened, closed = 0, list[int](), dict[int, int]()
    for place, character in enumerate(text.characters):
        if place in escaped:
            continue
        if character in "[]{}":
            square = max(0, square + (1 if character in "[{" else -1))
            text.blank(place, place + 1)
        elif character == "|" or (character == ":" and square and not _clock(written, place)):
            text.blank(place, place + 1, COMMA)
        elif character == "(":
            opened.append(place)
        elif character == ")" and opened:
            start = closed[place] = opened.pop()
            # A weight, or a bracket right inside another: emphasis. Any other bracket is an aside.
            if closed.get(place - 1) == start + 1:
                text.blank(start, start + 2)
                text.blank(place - 1, place + 1)
            elif place in ends or place + 1 in weights:
                text.blank(start, start + 1)
                text.blank(place, place + 1)


def _clock(text: str, place: int) -> bool:
    return text[place - 1 : place].isdigit() and text[place + 1 : place + 2].isdigit()


def _phrases(text: _Text, keywords: str) -> Iterator[Phrase]:
    """Runs of keywords that may be a sentence, and each tag by itself."""
    tags = [
        (match.span(), listed)
        for match in KEYWORD.finditer(keywords)
        if (listed := _is_listed(match[0])) or _is_tag(match[0])
    ]
    begin = 0
    for (start, end), listed in [*tags, ((len(keywords),) * 2, False)]:
        for first, last, named in ((begin, start, False), (start, end, listed)):
            found = _phrase(text, first, last, named)
            if any(character.isalnum() for character in found.text):
                yield found
        begin = end


def _is_listed(keyword: str) -> bool:
    written = keyword.lower().strip(" \t()")
    words = written.replace("_", " ").split()
    if not words or len(words) > LONGEST_TAG or any(map(IN_SENTENCES.fullmatch, words[1:])):
        return False
    return any(_tag_pattern().match(form) for form in (written, " ".join(words)))


def _is_tag(keyword: str) -> bool:
    """Whether a keyword with underscores stands alone: one word as written, or no sentence."""
    if not UNDERSCORED.search(keyword):
        return False
    words = keyword.replace("_", " ").lower().split()
    sentence = len(words) > LONGEST_TAG or any(map(IN_SENTENCES.fullmatch, words))
    return not sentence or len(keyword.split()) == 1


def _phrase(text: _Text, start: int, end: int, listed: bool = False) -> Phrase:
    """A stretch with single blanks and single line breaks, none at its ends."""
    characters: list[str] = []
    spans: list[tuple[int, int]] = []
    for character, span in zip(text.characters[start:end], text.spans[start:end], strict=True):
        blank = character.isspace()
        if character == COMMA:
            characters += ", "
            # The blank is nowhere in the prompt.
            spans += [span, (span[1], span[1])]
        elif blank and characters and characters[-1].isspace():
            if character == "\n":
                characters[-1], spans[-1] = character, span
        elif characters or not blank:
            characters.append(character)
            spans.append(span)
    while characters and characters[-1].isspace():
        characters.pop()
        spans.pop()
    return Phrase("".join(characters), tuple(spans), listed)
