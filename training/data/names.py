"""Many names as one text and where each begins: a million objects would take most of the memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Names(Sequence[str]):
    """Names end to end in UTF-8, and n + 1 places between them."""

    def __init__(self, text: bytes, bounds: np.ndarray) -> None:
        self._text, self._bounds = text, bounds

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self)} names, number {number} is none of them")
        return self.encoded(number % len(self)).decode("utf-8", "surrogatepass")

    def encoded(self, number: int) -> bytes:
        """A name in UTF-8, whose order is that of the names."""
        return self._text[self._bounds[number] : self._bounds[number + 1]]

    def select(self, numbers: Iterable[int] | np.ndarray) -> Names:
        """These names alone, in this order."""
        builder = NamesBuilder()
        for number in numbers:
            builder.append(self.encoded(int(number)))
        return builder.made()


class NamesBuilder:
    """Names while they are found."""

    def __init__(self) -> None:
        self._text, self._bounds = bytearray(), array("q", [0])

    def append(self, name: str | bytes) -> None:
        self._text += name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name
        self._bounds.append(len(self._text))

    def made(self) -> Names:
        """The names in the order in which they came."""
        return Names(bytes(self._text), np.array(self._bounds, np.int64))

    def in_order(self) -> tuple[Names, np.ndarray | slice]:
        """The names sorted, and the number that each had before, or all of them."""
        names = self.made()
        numbers = range(len(names))
        if all(names.encoded(one) <= names.encoded(one + 1) for one in numbers[:-1]):
            return names, slice(None)
        order = np.array(sorted(numbers, key=names.encoded), np.int64)
        return names.select(order), order
