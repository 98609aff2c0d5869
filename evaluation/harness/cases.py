"""Cases of a benchmark: what is to be drawn and under which name, frozen with a checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...layout import Layout
from ..benchmark import PlanError

FILE = "cases.jsonl"


@dataclass(frozen=True)
class Case:
    """One picture that a benchmark asks for.

    `file` is the path below a way's folder, as the official scorer expects it. `group` is a category or a
    level; pictures of one `unit` (a prompt) are drawn from together in a bootstrap. `facts` are what scoring
    needs besides the layout, in plain JSON values.
    """

    id: str
    file: str
    layout: Layout
    seed: int
    unit: str
    group: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """The case in plain JSON values."""
        own = {name: getattr(self, name) for name in ("id", "file", "seed", "unit", "group")}
        return {**own, "layout": self.layout.to_dict(), "facts": dict(self.facts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Case:
        """The case that `to_dict` gave these values."""
        parsed: dict[str, Any] = {**values, "layout": Layout.from_dict(values["layout"])}
        return cls(**parsed)


@dataclass(frozen=True)
class CaseList:
    """The cases of a benchmark by name, and a sentence on what they were made of.

    `shared` is what scoring all of them needs, in plain JSON values.
    """

    benchmark: str
    source: str
    cases: tuple[Case, ...]
    shared: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def checksum(self) -> str:
        """SHA-256 of the cases: equal for two people who measure on the same."""
        return _checksum(self.shared, [_line(case) for case in self.cases])

    def write(self, file: Path) -> None:
        """Freeze the cases: a line on the whole, then one each."""
        lines = [_line(case) for case in self.cases]
        head = {
            "benchmark": self.benchmark,
            "source": self.source,
            "cases": len(lines),
            "sha256": _checksum(self.shared, lines),
            "shared": dict(self.shared),
        }
        unfinished = file.with_name(f".{file.name}-{os.getpid()}")
        unfinished.write_text("\n".join([json.dumps(head), *lines]) + "\n", encoding="utf-8")
        unfinished.replace(file)

    @classmethod
    def read(cls, file: Path) -> CaseList:
        """Frozen cases; `PlanError` if there are none, or not those that were frozen."""
        if not file.is_file():
            raise PlanError(f"there is no {file.name} in {file.parent}; `benchmark NAME prepare` makes it")
        # A caption may hold what other programs end lines with (U+2028).
        head_line, *lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        try:
            head = json.loads(head_line)
            frozen = head["sha256"]
            cases = tuple(Case.from_dict(json.loads(line)) for line in lines)
            read = cls(head["benchmark"], head["source"], cases, head["shared"])
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"{file} holds no frozen cases: {error}") from error
        if _checksum(read.shared, lines) != frozen:
            raise PlanError(
                f"{file} was changed after it was frozen, so that its numbers would compare with nobody's; "
                "prepare it again in another folder, or fetch the file again"
            )
        return read


def check_unique(cases: Sequence[Case]) -> None:
    """Raise `PlanError` for two cases with one id or one file, of which the second would be lost."""
    for name in ("id", "file"):
        seen: set[str] = set()
        for case in cases:
            value = getattr(case, name)
            if value in seen:
                raise PlanError(f"two pictures would have the {name} {value}; name each only once")
            seen.add(value)


def _line(case: Case) -> str:
    return _json(case.to_dict())


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _checksum(shared: Mapping[str, Any], lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([_json(shared), *lines]).encode()).hexdigest()
