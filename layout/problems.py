"""Problems of a layout, said so that an artist can act on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .messages import quote, say

Severity = Literal["error", "warning"]
# Of several findings, those that a message tells; the error holds them all.
MOST_TOLD = 20
# Keys and indexes (from 0) that lead to a value of a document: ("instances", 1, "box").
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One finding about a layout.

    `instance` is the id of the instance (None for the layout itself), `caption` its caption; `value` is what
    was given, `allowed` what may be given or what happens. `path` leads to the value, where it is known.
    """

    severity: Severity
    instance: str | None
    caption: str
    field: str
    value: Any
    message: str
    allowed: str
    path: Path = dataclasses.field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        where = "Layout" if self.instance is None else f"Instance {quote(self.instance)}"
        if self.instance is not None:
            where += f" ({quote(self.caption)})" if self.caption.strip() else " (no caption)"
        return f"{where}, {self.field}: {self.message}, got {quote(self.value)}; {self.allowed}"


class LayoutError(ValueError):
    """A layout that cannot be read or used.

    `code` names what is wrong (one of `messages.MESSAGES`, "" for others) and `params` what its sentence
    speaks of, for programs that say it in words of their own. `path` leads to the value in the document
    that is meant, () for all of it; `position` is the character of the text that is meant, None without
    one. `problems` lists every error behind it, if they are known.
    """

    def __init__(
        self,
        message: str,
        problems: Iterable[Problem] = (),
        *,
        code: str = "",
        params: Mapping[str, Any] | None = None,
        path: Path = (),
    ) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        self.code = code
        self.params = dict(params or {})
        self.path = path
        self.position: int | None = None


class FormatError(LayoutError):
    """Text that stops being a layout at one character.

    `line` and `column` count from 1, `position` counts characters from 0; the message shows the spot.
    """

    def __init__(
        self,
        message: str,
        text: str,
        position: int,
        *,
        code: str = "",
        params: Mapping[str, Any] | None = None,
    ) -> None:
        place = max(0, min(position, len(text)))
        before = text[:place]
        self.line = before.count("\n") + 1
        self.column = place - (before.rfind("\n") + 1) + 1
        shown = f"line {self.line}, column {self.column}: {message}{_excerpt(text, place)}"
        super().__init__(shown, code=code, params=params)
        self.position = place


def fault(code: str, path: Path = (), **params: Any) -> LayoutError:
    """The error of a code about the value at a path."""
    return LayoutError(say(code, params), code=code, params=params, path=path)


def text_fault(code: str, text: str, position: int, **params: Any) -> FormatError:
    """The error of a code about a character of a text."""
    return FormatError(say(code, params), text, position, code=code, params=params)


def problems_fault(code: str, problems: Iterable[Problem]) -> LayoutError:
    """The error of a code about several fields at once; it points at the first."""
    listed = tuple(problems)
    told = listed[:MOST_TOLD]
    names = ", ".join(dict.fromkeys(path_text(problem.path) or problem.field for problem in told))
    lines = [*map(str, told), *([f"and {len(listed) - len(told)} more"] if len(listed) > len(told) else [])]
    params = {"count": len(listed), "names": names, "problems": "\n".join(lines)}
    return LayoutError(say(code, params), listed, code=code, params=params, path=listed[0].path)


def path_text(path: Path) -> str:
    """A path for people, counted from 1: instances[2].box."""
    steps = (f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def _excerpt(text: str, position: int, reach: int = 30) -> str:
    """The characters around a position with a caret under it, empty when there is nothing to show."""
    start = max(text.rfind("\n", 0, position) + 1, position - reach)
    newline = text.find("\n", position)
    end = min(len(text) if newline < 0 else newline, position + reach)
    shown = "".join(character if character.isprintable() else "·" for character in text[start:end])
    return f"\n  {shown}\n  {' ' * (position - start)}^" if shown.strip() else ""
