"""The grammar of captions, in both directions.

caption   = first {", " figure} [" and " figure] " on " background
first     = figure [" " relation " " figure]
relation  = "left of" | "right of" | "above" | "below"
figure    = ("a" | "an") [" " size] " " color [" " pattern] " " shape        (plain goes without saying)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .relations import OPPOSITES, RELATIONS
from .scenes import Figure, Scene
from .vocabulary import (
    BACKGROUNDS,
    COLORS,
    PATTERNS,
    SHAPES,
    Look,
)


class Phrase(NamedTuple):
    """A caption's words about one figure; `size` is empty where it says nothing."""

    look: Look
    size: str


class Related(NamedTuple):
    """What a caption says; `relation` is that of its first figure to its second, or empty."""

    phrases: tuple[Phrase, ...]
    relation: str
    background: str


class CaptionError(ValueError):
    """A caption outside the grammar."""


def describe(figure: Figure) -> str:
    """The caption of one figure: "a large red striped circle"."""
    shape, color, pattern = figure.look
    words = [figure.size, color, "" if pattern == "plain" else pattern, shape]
    text = " ".join(word for word in words if word)
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def caption(scene: Scene) -> str:
    """The caption of a scene: "a red striped circle and a small blue square on grey".

    With a relation that the scene states: "a red circle left of a blue square and a green star on grey".
    """
    return join(relate([describe(figure) for figure in scene.figures], scene.relation), scene.background)


def relate(phrases: Sequence[str], relation: str) -> list[str]:
    """The figures' captions with the first two made one by a relation; as they are without one."""
    if not relation:
        return [*phrases]
    first, second, *others = phrases
    return [f"{first} {relation} {second}", *others]


def join(phrases: Sequence[str], background: str) -> str:
    """One sentence of several figures' captions, in their order."""
    *most, last = phrases
    things = f"{', '.join(most)} and {last}" if most else last
    return f"{things} on {background}"


def contradict(text: str) -> str:
    """The caption with its first relation turned round; as it is where it states none."""
    return _RELATION.sub(lambda found: f" {OPPOSITES[found[1]]} ", text, count=1)


def unrelate(text: str) -> str:
    """The caption with its things listed, and no relation said; as it is where it states none.

    "a red circle left of a blue square on grey" becomes "a red circle and a blue square on grey".
    """
    things, _, background = text.rpartition(" on ")
    phrases = [one for part in _LISTED.split(things) for one in _RELATION.split(part)[::2]]
    return join(phrases, background) if _RELATION.search(things) else text


def parse(text: str) -> tuple[tuple[Phrase, ...], str]:
    """Figures and background of a scene's caption; `CaptionError` says what cannot be read.

    A caption that states a relation is refused, because it says more than these: see `parse_related`.
    """
    phrases, relation, background = parse_related(text)
    if relation:
        raise CaptionError(
            f'{text!r} says how two things stand ("{relation}"), where only things and a background are read'
        )
    return phrases, background


def parse_related(text: str) -> Related:
    """What a caption says, with or without a relation of its first two figures."""
    things, separator, background = text.rpartition(" on ")
    if not separator or background not in BACKGROUNDS:
        raise CaptionError(f'{text!r} does not end in "on" and one of {", ".join(BACKGROUNDS)}')
    first, *others = _LISTED.split(things)
    related = _RELATION.split(first)
    relation = "".join(related[1:2])
    if len(related) > 3 or any(_RELATION.search(one) for one in others):
        raise CaptionError(f"{text!r} says another relation than one of its first two things, which is read")
    figures = tuple(parse_figure(one) for one in (*related[::2], *others))
    return Related(figures, relation, background)


_LISTED = re.compile(r", | and ")
_RELATION = re.compile(f" ({'|'.join(RELATIONS)}) ")
_FIGURE = re.compile(
    rf"an? (?:(?P<size>small|large) )?(?P<color>{'|'.join(COLORS)})"
    rf"(?: (?P<pattern>{'|'.join(PATTERNS)}))? (?P<shape>{'|'.join(SHAPES)})"
)


def parse_figure(text: str) -> Phrase:
    """The phrase of one figure's caption; `CaptionError` names the words allowed."""
    found = _FIGURE.fullmatch(text.strip())
    if found is None:
        raise CaptionError(
            f"{text!r} is no figure of this world: write a or an, small or large if you like, a colour "
            f"({', '.join(COLORS)}), a pattern if any ({', '.join(PATTERNS)}), a shape ({', '.join(SHAPES)})"
        )
    return Phrase(Look(found["shape"], found["color"], found["pattern"] or "plain"), found["size"] or "")
