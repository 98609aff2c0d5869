"""The report: rows with a state, in sections, as plain text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "missing", "fault"]


class PassRefusedError(Exception):
    """Raised by a model's pass that may not run now, whatever the file: it ends the check of all files."""


@dataclass(frozen=True)
class Row:
    """One thing that was looked at: `state`, its name, what was found, and what to do about it.

    "missing" is what an optional feature needs and is not there; "fault" is what should work and does not.
    """

    state: State
    name: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Section:
    """Rows under a title."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """All sections, in the order in which they are read."""

    sections: tuple[Section, ...]

    @property
    def faults(self) -> int:
        """Number of rows that say something should work and does not."""
        return sum(row.state == "fault" for section in self.sections for row in section.rows)

    def __str__(self) -> str:
        """Plain text in columns; a remedy stands on a line of its own below what it mends."""
        lines: list[str] = []
        for section in self.sections:
            width = max((len(row.name) for row in section.rows), default=0)
            lines += ["", section.title]
            for row in section.rows:
                found = " ".join(row.found.split())
                lines.append(f"  {row.state:<8}{row.name.ljust(width)}  {found}".rstrip())
                if row.remedy:
                    lines.append(f"{'':10}{'':{width}}  -> {' '.join(row.remedy.split())}")
        return "\n".join(lines[1:]) + "\n"
