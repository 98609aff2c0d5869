"""The metrics of a run: one line of JSON every few steps, in `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .checkpoint import ResumeError, write_whole

FILE = "metrics.jsonl"


def write_metrics(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def forget_metrics(folder: Path, step: int) -> None:
    """Drop lines of later steps than this one: those are done again.

    `ResumeError` for a line that is no metric.
    """
    path = folder / FILE
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    # What a run that was killed left of its last line is dropped too.
    lines = text[: text.rfind("\n") + 1].splitlines()
    try:
        kept = [line for line in lines if json.loads(line)["step"] <= step]
    except (ValueError, KeyError, TypeError) as error:
        raise ResumeError(
            f"{path} holds a line that is no metric of a step ({error}); move it away to continue"
        ) from error
    whole = "".join(f"{line}\n" for line in kept)
    if whole != text:
        write_whole(path, whole)


def mean(values: Sequence[float]) -> float | None:
    """The mean of the finite values; None, which JSON has a word for, where there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return round(sum(finite) / len(finite), 6) if finite else None
