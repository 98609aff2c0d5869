"""JSON text that may come from anywhere: limits, positions, no silent repairs."""

from __future__ import annotations

import json
import math
from typing import Any

from .problems import FormatError, LayoutError, quote

MOST_CHARACTERS = 10_000_000
DEEPEST = 64
# No number of a layout needs more digits, and float() refuses integers of 309.
_MOST_DIGITS = 300


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    LayoutError for text over 10 MB, nesting over 64 levels, NaN, infinities and keys given twice; FormatError
    (with line and column) for anything that is not JSON.
    """
    text = decode(text)
    try:
        data = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_int=_integer,
            parse_float=_fraction,
        )
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg}", text, error.pos) from None
    except RecursionError:
        raise LayoutError(_too_deep()) from None
    require_shallow(data)
    return data


def decode(text: Any) -> str:
    """The text (or UTF-8 bytes) without a byte order mark; LayoutError for others and for over 10 MB."""
    if not isinstance(text, (str, bytes)):
        raise LayoutError(f"a text is needed, got {quote(text)}")
    if len(text) > MOST_CHARACTERS:
        raise LayoutError(
            f"the text has {len(text):,} characters; at most {MOST_CHARACTERS:,} (10 MB) are read"
        )
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise LayoutError(f"not UTF-8 text: {error.reason} at byte {error.start}") from None
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
    raise LayoutError(_too_deep())


def dump_json(data: Any) -> str:
    """One line of JSON; non-ASCII text stays readable unless it cannot be encoded."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(data, allow_nan=False)
    return text


def _too_deep() -> str:
    return f"lists and objects are nested too deep; at most {DEEPEST} levels are read"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise LayoutError(f"the key {quote(twice)} is given twice in one object")
    return result


def _refuse(literal: str) -> Any:
    raise LayoutError(f"the value {literal} is not a number a layout can hold")


def _integer(literal: str) -> int:
    if len(literal) > _MOST_DIGITS:
        raise LayoutError(f"the number {quote(literal, 20)} is too large")
    return int(literal)


def _fraction(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise LayoutError(f"the number {quote(literal, 20)} is too large")
    return value
