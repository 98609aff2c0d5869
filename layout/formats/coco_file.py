"""COCO files larger than a text may be: one image with its annotations is cut out, entry by entry.

No more than one entry is held beside the text and what is kept, whatever the file holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ..problems import text_fault

_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_MOST_LISTED = 12


def cut(text: str, image: int | str) -> dict[str, Any]:
    """The part of a COCO file about one image, by id or file name: its entry, categories, annotations.

    Where no image or several go by that name, a few of those that are listed come back instead, so that the
    reader can name them.
    """
    found: list[Any] = []
    listed: list[Any] = []
    categories: list[Any] = []
    for key, entry in _entries(text):
        if key == "categories":
            categories.append(entry)
        elif key == "images" and isinstance(entry, dict):
            if str(image) in (str(entry.get("id")), entry.get("file_name")):
                found.append(entry)
            elif len(listed) < _MOST_LISTED:
                listed.append(entry)
    if len(found) != 1:
        return {"images": [*found, *listed], "categories": categories, "annotations": []}
    identifier = str(found[0].get("id"))
    annotations = [
        entry
        for key, entry in _entries(text)
        if key == "annotations" and isinstance(entry, dict) and str(entry.get("image_id")) == identifier
    ]
    return {"images": found, "categories": categories, "annotations": annotations}


def _entries(text: str) -> Iterator[tuple[str, Any]]:
    """Every entry of the lists of an object, with the key of its list."""
    position = _after(text, 0, "{")
    while text[position : position + 1] != "}":
        key, position = _value(text, position)
        position = _after(text, position, ":")
        if text[position : position + 1] == "[":
            position = _after(text, position, "[")
            while text[position : position + 1] != "]":
                entry, position = _value(text, position)
                yield str(key), entry
                if text[position : position + 1] != "]":
                    position = _after(text, position, ",")
            position = _after(text, position, "]")
        else:
            _, position = _value(text, position)
        if text[position : position + 1] != "}":
            position = _after(text, position, ",")


def _value(text: str, position: int) -> tuple[Any, int]:
    """A value, and where the next sign stands."""
    try:
        value, end = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError) as error:
        place = error.pos if isinstance(error, json.JSONDecodeError) else position
        raise text_fault("json_value", text, place, reason="no value") from None
    return value, _skip(text, end)


def _after(text: str, position: int, sign: str) -> int:
    """Where the next sign stands after one that must be here."""
    position = _skip(text, position)
    if text[position : position + 1] != sign:
        raise text_fault("json_value", text, position, reason=f"{sign} is expected")
    return _skip(text, position + 1)


def _skip(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    return found.end() if found else position
