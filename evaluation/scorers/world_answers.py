"""The judge of Shapes World where a question asks for JSON about the whole picture, as OverLayBench's do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...layout import Box
from ...shapes_world.judge import Reading, box_overlap

_THERE = 0.5
_IN_FRONT = "in front of"


def answer(
    things: Sequence[Reading],
    size: tuple[int, int],
    question: str,
    fits: Callable[[str, Reading], bool],
) -> str:
    """JSON, as the values in the question ask for it.

    Kinds are asked for boxes, things for yes or no, boxes and pairs for yes or no to what is between them.
    `fits` says whether a description is true of a thing.
    """
    asked = values_in(question)
    if isinstance(asked[0], list):
        return json.dumps({kind: _boxes(things, kind, size) for kind in asked[0]})
    if len(asked) == 1:
        said = {
            name: any(_in(thing, one["box"], size) and fits(one["description"], thing) for thing in things)
            for name, one in asked[0].items()
        }
    else:
        said = _between(things, size, *asked)
    return json.dumps({name: "Yes" if yes else "No" for name, yes in said.items()})


def values_in(text: str) -> list[Any]:
    """Lists and objects of JSON in a text, in their order; what is in brackets and no JSON is passed over."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place) if text[place] in "[{" else (None, place + 1)
        except ValueError:
            place += 1
            continue
        if value is not None:
            found.append(value)
    return found


def _boxes(things: Sequence[Reading], kind: str, size: tuple[int, int]) -> list[list[int]]:
    return [
        [round(value * side) for value, side in zip(thing.box, (*size, *size), strict=True)]
        for thing in things
        if thing.shape == kind
    ]


def _between(
    things: Sequence[Reading],
    size: tuple[int, int],
    boxes: Mapping[str, Sequence[float]],
    relations: Mapping[str, str],
) -> dict[str, bool]:
    """What another thing covers fits its shape less well, and counts as the farther."""
    own = {
        name: next((thing for thing in things if _in(thing, box, size)), None) for name, box in boxes.items()
    }
    said: dict[str, bool] = {}
    for pair, relation in relations.items():
        first, second = (own.get(name.strip()) for name in pair.strip("()").split(","))
        said[pair] = (
            first is not None
            and second is not None
            and (relation != _IN_FRONT or first.overlap > second.overlap)
        )
    return said


def _in(thing: Reading, box: Sequence[float], size: tuple[int, int]) -> bool:
    fractions = Box(*(value / side for value, side in zip(box, (*size, *size), strict=True)))
    return box_overlap(thing.box, fractions) >= _THERE
