"""JSON text that may come from anywhere: limits, positions, no silent repairs."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from .messages import quote
from .problems import Path, fault, text_fault

MOST_CHARACTERS = 10_000_000
DEEPEST = 64
# No number of a layout needs more digits, and float() refuses integers of 309.
_MOST_DIGITS = 300
_JSON_CODES = {
    "Expecting property name": "json_key",
    "Expecting ':'": "json_colon",
    "Expecting ','": "json_comma",
    "Extra data": "json_extra",
    "Unterminated string": "json_string",
    "Invalid control character": "json_control",
    "Invalid \\": "json_escape",
}
_BLANKS = re.compile(r"[ \t\n\r]*")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    LayoutError for text over 10 MB, nesting over 64 levels, NaN, infinities and keys given twice; FormatError
    (with line and column) for anything that is not JSON.
    """
    text = decode(text)
    try:
        data = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise text_fault(_json_code(error.msg), text, error.pos, reason=error.msg) from None
    except RecursionError:
        raise fault("json_depth", most=DEEPEST) from None
    # As few brackets cannot nest deeper.
    if text.count("[") + text.count("{") > DEEPEST:
        require_shallow(data)
    return data


def decode(text: Any, most: int = MOST_CHARACTERS) -> str:
    """The text (or UTF-8 bytes) without a byte order mark; LayoutError for others and for over 10 MB."""
    if not isinstance(text, (str, bytes)):
        raise fault("text_needed", value=quote(text))
    if len(text) > most:
        raise fault("text_too_long", count=len(text), most=most)
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise fault("not_utf8", reason=error.reason, byte=error.start) from None
    return text.removeprefix("\ufeff")


def require_shallow(data: Any) -> None:
    """LayoutError when lists and objects nest deeper than 64 levels."""
    level = [data]
    for _ in range(DEEPEST + 1):
        level = [
            child
            for value in level
            if isinstance(value, (dict, list))
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise fault("json_depth", most=DEEPEST)


def locate(text: str, path: Path) -> int | None:
    """Offset of the value that a path leads to in JSON text, or of the nearest value around it.

    None for text that is not JSON. Where a key is given twice, the first is meant.
    """
    decoder = json.JSONDecoder(strict=False)
    position = _after_blanks(text, 0)
    try:
        for step in path:
            found = _child(text, position, step, decoder)
            if found is None:
                break
            position = found
    except (ValueError, RecursionError):
        return None
    return position if position < len(text) else None


def _child(text: str, position: int, step: str | int, decoder: json.JSONDecoder) -> int | None:
    """Offset of the value under a key or index in the object or list that begins at a position."""
    is_object = text[position : position + 1] == "{"
    if not is_object and text[position : position + 1] != "[":
        return None
    key: str | int = -1
    while text[position : position + 1] not in ("]", "}", ""):
        position = _after_blanks(text, position + 1)
        if text[position : position + 1] in ("]", "}"):
            return None
        if is_object:
            key, position = decoder.raw_decode(text, position)
            position = _after_blanks(text, _after_blanks(text, position) + 1)
        elif isinstance(key, int):
            key += 1
        if key == step:
            return position
        _, position = decoder.raw_decode(text, position)
        position = _after_blanks(text, position)
    return None


def _after_blanks(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    return found.end() if found else position


def dump_json(data: Any) -> str:
    """One line of JSON; non-ASCII text stays readable unless it cannot be encoded."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(data, allow_nan=False)
    return text


def _json_code(message: str) -> str:
    """What the standard library's words about a text that is not JSON mean."""
    return next((code for start, code in _JSON_CODES.items() if message.startswith(start)), "json_value")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        # set.add gives None, so that the first key that was there before is found.
        raise fault("json_twice", key=next(key for key, _ in pairs if key in seen or seen.add(key)))
    return result


def _refuse(literal: str) -> Any:
    raise fault("json_constant", value=literal)


def _integer(literal: str) -> int:
    if len(literal) > _MOST_DIGITS:
        raise fault("json_large", value=quote(literal, 20))
    return int(literal)


def _fraction(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise fault("json_large", value=quote(literal, 20))
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_integer, parse_float=_fraction
)
