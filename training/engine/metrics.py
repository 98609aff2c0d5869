"""The metrics of a run: one line of JSON every few steps in `metrics.jsonl`, and accelerate's trackers.

Trackers are TensorBoard, Weights & Biases and the like.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import tracking
from accelerate.utils import LoggerType

from .checkpoint import ResumeError, write_whole
from .settings import Settings, SettingsError

FILE = "metrics.jsonl"
PROJECT = "instance-composer"


def write_metrics(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def forget_metrics(folder: Path, step: int, *, write: bool = True) -> None:
    """Drop lines of later steps than this one, which are done again; or `write` nothing and only look.

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
    if write and whole != text:
        write_whole(path, whole)


def mean(values: Sequence[float]) -> float | None:
    """The mean of the finite values; None, which JSON has a word for, where there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return round(sum(finite) / len(finite), 6) if finite else None


def trackers_of(settings: Settings) -> list[str]:
    """The names asked for; `SettingsError` for one that there is not, or whose package is not installed."""
    names = [name.strip() for name in settings.trackers.split(",") if name.strip()]
    for name in names:
        if name not in tracking.LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(tracking.LOGGER_TYPE_TO_CLASS))
            raise SettingsError(f"there is no tracker {name!r}; there are {known}")
        available = [str(one) for one in tracking.get_available_trackers()]
        # Those that a program registers itself bring what they need.
        if name in [str(one) for one in LoggerType] and name not in available:
            raise SettingsError(
                f"the package of the tracker {name} is not installed; get it with: pip install {name}, or "
                "leave it out of trackers"
            )
    return names
