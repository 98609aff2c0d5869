"""The grammar of captions, in both directions.

caption   = figure {", " figure} [" and " figure] " on " background
figure    = ("a" | "an") [" " size] " " color [" " pattern] " " shape        (plain goes without saying)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

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


class CaptionError(ValueError):
    """A caption outside the grammar."""


def describe(figure: Figure) -> str:
    """The caption of one figure: "a large red striped circle"."""
    shape, color, pattern = figure.look
    words = [figure.size, color, "" if pattern == "plain" else pattern, shape]
    text = " ".join(word for word in words if word)
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def caption(scene: Scene) -> str:
    """The caption of a scene: "a red striped circle and a small blue square on grey"."""
    return join([describe(figure) for figure in scene.figures], scene.background)


def join(phrases: Sequence[str], background: str) -> str:
    """One sentence of several figures' captions, in their order."""
    *most, last = phrases
    things = f"{', '.join(most)} and {last}" if most else last
    return f"{things} on {background}"


def parse(text: str) -> tuple[tuple[Phrase, ...], str]:
    """Figures and background of a scene's caption; `CaptionError` says what cannot be read."""
    things, separator, background = text.rpartition(" on ")
    if not separator or background not in BACKGROUNDS:
        raise CaptionError(f'{text!r} does not end in "on" and one of {", ".join(BACKGROUNDS)}')
    return tuple(parse_figure(part) for part in re.split(r", | and ", things)), background


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
