"""Notes that a reader takes for the user: unit and order of numbers, warnings about what was left out.

Readers give layouts; what they note reaches the caller through the context, so their signature stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..messages import say
from ..problems import Path


@dataclass(frozen=True)
class Warned:
    """One warning about a text: its code, the parameters of its sentence, and the value it is about."""

    code: str
    params: Mapping[str, Any]
    path: Path = ()

    def __str__(self) -> str:
        return say(self.code, self.params)


@dataclass
class Notes:
    """What a reader tells: the unit and the order of the numbers ("" where there is none to tell)."""

    units: str = ""
    order: str = ""
    warnings: list[Warned] = field(default_factory=list[Warned])
    # What was warned about, since a text may have as many faults as entries.
    told: set[str] = field(default_factory=set[str], repr=False)


_NOTES: ContextVar[Notes | None] = ContextVar("notes", default=None)


@contextmanager
def taken() -> Iterator[Notes]:
    """The notes of what is read inside."""
    notes = Notes()
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def note(units: str = "", order: str = "") -> None:
    """Note how numbers were read."""
    if notes := _NOTES.get():
        notes.units, notes.order = units or notes.units, order or notes.order


def warn(code: str, path: Path = (), **params: Any) -> None:
    """Note a warning of a code; once, though a text may be read twice to find its format."""
    warned = Warned(code, params, path)
    if (notes := _NOTES.get()) and (key := repr(warned)) not in notes.told:
        notes.told.add(key)
        notes.warnings.append(warned)
