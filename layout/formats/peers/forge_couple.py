"""Forge Couple's advanced mapping: rows "x1, x2, y1, y2, weight" and as many lines of prompt. Read only.

As JSON {"mapping": [[x1, x2, y1, y2, weight], …], "prompt": "line\\nline"} (a request to the web interface
too), or as text: lines of prompt with the rows of the table below or above them, ranges written 0.0:0.5 or
apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ...box import WHOLE, Box
from ...document import Layout
from ...instance import Canvas, Instance
from ...json_text import decode
from ...problems import Path, fault
from ..found_json import parsed
from ..notes import note
from ..shared import Place, require_list, require_number, require_numbers, require_object, require_text

_NUMBER = r"[0-9]{1,3}(?:\.[0-9]{0,20})?"
_RANGE = rf"({_NUMBER})[ \t]*[:,][ \t]*({_NUMBER})"
_COMMA = r"[ \t]*,[ \t]*"
# Never two optional runs of blanks side by side: a long run would take quadratic time.
_ROW = re.compile(
    rf"[ \t]*(?:\[{{1,2}}[ \t]*)?{_RANGE}{_COMMA}{_RANGE}(?:{_COMMA}({_NUMBER}))?"
    r"[ \t]*(?:\]{1,2}[ \t]*)?(?:,[ \t]*)?$"
)
_MOST_ARGUMENTS = 40


def recognises(data: Any) -> bool:
    return _mapping(data) is not None


def recognises_text(text: str) -> bool:
    """Whether there are rows of ranges and at least as many other lines."""
    rows, lines = _split(text)
    return 0 < len(rows) <= len(lines)


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Regions in fractions with their lines.

    The weight is the strength; the lines of rows over the whole canvas are the prompt.
    """
    note("fraction", "x1 x2 y1 y2")
    if isinstance(source, (str, bytes)) and recognises_text(text := decode(source)):
        rows, lines = _split(text)
        numbers = [[float(number) for number in row] for row in rows]
        path: Path = ()
    else:
        numbers, lines, path = _from_values(require_object(parsed(source), Place("a Forge Couple mapping")))
    if len(numbers) != len(lines):
        raise fault("need_equal", path, one="mapping", first=len(numbers), other="prompt", second=len(lines))
    instances: list[Instance] = []
    prompts: list[str] = []
    for (x1, x2, y1, y2, weight), line in zip(numbers, lines, strict=True):
        box = Box(x1, y1, x2, y2)
        if box == WHOLE:
            prompts.append(line.strip(" ,"))
        else:
            instances.append(Instance(str(len(instances) + 1), box, line.strip(" ,"), strength=weight))
    return Layout(tuple(instances), canvas or Canvas(), ", ".join(prompts))


def _split(text: str) -> tuple[list[list[str]], list[str]]:
    """The rows of the table and the other lines, which are the prompt's."""
    rows: list[list[str]] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if found := _ROW.match(line.rstrip("\r")):
            rows.append([*found.groups()[:4], found[5] or "1"])
        elif line.strip():
            lines.append(line)
    return rows, lines


def _mapping(data: Any) -> tuple[list[Any], Path] | None:
    """The table in an object of ours, or in the arguments of a request to the web interface."""
    if not isinstance(data, dict):
        return None
    if _is_table(data.get("mapping")):
        return data["mapping"], ("mapping",)
    scripts = data.get("alwayson_scripts")
    for name, script in scripts.items() if isinstance(scripts, dict) else ():
        arguments = script.get("args") if isinstance(script, dict) else None
        if str(name).lower().replace(" ", "") == "forgecouple" and isinstance(arguments, list):
            for index, argument in enumerate(arguments[:_MOST_ARGUMENTS]):
                if _is_table(argument):
                    return argument, ("alwayson_scripts", name, "args", index)
    return None


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list) for row in value)


def _from_values(data: dict[str, Any]) -> tuple[list[list[float]], list[str], Path]:
    table, path = _mapping(data) or ([], ())
    rows = [list(_row(row, Place(f"row {index + 1}", (*path, index)))) for index, row in enumerate(table)]
    prompt = data.get("prompt") or data.get("prompts") or ""
    if isinstance(prompt, list):
        lines = [require_text(line, Place("prompt", ("prompt", index))) for index, line in enumerate(prompt)]
    else:
        lines = [
            line for line in require_text(prompt, Place("prompt", ("prompt",))).split("\n") if line.strip()
        ]
    return rows, lines, path


def _row(row: Any, where: Place) -> Iterator[float]:
    """Five numbers of a row, whose ranges may be texts "0.0:0.5"; the weight is 1 where there is none."""
    values: list[Any] = []
    for value in require_list(row, where):
        values += value.split(":") if isinstance(value, str) and ":" in value else [value]
    if len(values) == 4:
        values.append(1)
    if len(values) < 5:
        require_numbers(row, 5, where)
    for value in values[:5]:
        is_number = isinstance(value, str) and re.fullmatch(_NUMBER, value.strip())
        yield float(value) if is_number else require_number(value, where)
