"""What can be wrong with a layout, said so that an artist can act on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


def quote(value: Any, limit: int = 60) -> str:
    """A value for a message: on one line, cut to `limit` characters, control characters escaped."""
    text = repr(value)
    text = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[: limit + 1]
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True)
class Problem:
    """One finding about a layout.

    `instance` is the id of the instance (None for the layout itself), `caption` its caption; `value` is what
    was given, `allowed` what may be given or what happens.
    """

    severity: Severity
    instance: str | None
    caption: str
    field: str
    value: Any
    message: str
    allowed: str

    def __str__(self) -> str:
        where = "Layout" if self.instance is None else f"Instance {quote(self.instance)}"
        if self.instance is not None:
            where += f" ({quote(self.caption)})" if self.caption.strip() else " (no caption)"
        return f"{where}, {self.field}: {self.message}, got {quote(self.value)}; {self.allowed}"


class LayoutError(ValueError):
    """A layout that cannot be read or used; `problems` lists every error behind it, if they are known."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class FormatError(LayoutError):
    """Text that stops being a layout at one character.

    `line` and `column` count from 1, `position` counts characters from 0; the message shows the spot.
    """

    def __init__(self, message: str, text: str, position: int) -> None:
        self.position = max(0, min(position, len(text)))
        before = text[: self.position]
        self.line = before.count("\n") + 1
        self.column = self.position - (before.rfind("\n") + 1) + 1
        super().__init__(f"line {self.line}, column {self.column}: {message}{_excerpt(text, self.position)}")


def _excerpt(text: str, position: int, reach: int = 30) -> str:
    """The characters around a position with a caret under it, empty when there is nothing to show."""
    start = max(text.rfind("\n", 0, position) + 1, position - reach)
    newline = text.find("\n", position)
    end = min(len(text) if newline < 0 else newline, position + reach)
    shown = "".join(character if character.isprintable() else "·" for character in text[start:end])
    return f"\n  {shown}\n  {' ' * (position - start)}^" if shown.strip() else ""
