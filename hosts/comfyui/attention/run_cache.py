"""Cache of one sampling run: objects that every step asks for, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Value = TypeVar("Value")


class RunCache:
    """Objects by key, from the first time they are asked for until the run ends.

    `aside` is true while the model runs beside a step's own evaluation, for a guiding term or once more for a
    guidance that compares: what is read of a run's steps is read in their own evaluation alone.
    """

    def __init__(self) -> None:
        self._objects: dict[Hashable, Any] = {}
        self.aside = False

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The object of this key, the same one every time; `make` is called the first time."""
        if key not in self._objects:
            self._objects[key] = make()
        return self._objects[key]

    def clear(self) -> None:
        """Forget all objects, so that nothing stays on the device."""
        self._objects.clear()
        self.aside = False
