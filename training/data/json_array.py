"""Array of JSON objects as text, of which each is parsed when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np


class JsonArray(Sequence[dict[str, Any]]):
    """The objects of a text that `json.dumps` made of a list.

    `bounds` (n, 2) are where each begins and ends, found by parsing the whole text once. They take 8 bytes an
    object and can be given when the same text is opened again.
    """

    def __init__(self, text: str, bounds: np.ndarray | None = None) -> None:
        self._text = text
        self.bounds = _bounds(text) if bounds is None else bounds

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, number: Any) -> Any:
        start, end = self.bounds[number]
        return json.loads(self._text[start:end])


def _bounds(text: str) -> np.ndarray:
    decode = json.JSONDecoder().raw_decode
    found: list[tuple[int, int]] = []
    start = 1
    while start < len(text) - 1:
        _, end = decode(text, start)
        found.append((start, end))
        # ", " follows, or the end of the list.
        start = end + 2
    return np.array(found, np.uint32).reshape(-1, 2)
