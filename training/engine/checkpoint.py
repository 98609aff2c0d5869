"""Checkpoint of a run: everything needed to continue it bit for bit."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

FILE = "checkpoint.pt"


class ResumeError(ValueError):
    """A run that cannot be continued with what was asked for."""


def write_run(folder: Path, state: dict[str, Any]) -> None:
    """Write a run's state (tensors and plain values); an interruption leaves the previous one intact."""
    folder.mkdir(parents=True, exist_ok=True)
    beginning = folder / f"{FILE}.part"
    torch.save(state, beginning)
    os.replace(beginning, folder / FILE)


def read_run(folder: Path) -> dict[str, Any] | None:
    """The state of the run in `folder`, None if there is none; `ResumeError` for a damaged file.

    Nothing but tensors and plain values is ever unpickled.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ResumeError(
            f"{path} is no checkpoint of a run, or a damaged one ({' '.join(str(error).split())}); move it "
            "away to start over"
        ) from error


def check_same(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """`ResumeError` unless what was asked for now is what the run was started with."""
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        changes = ", ".join(f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in changed)
        raise ResumeError(
            f"this run was started with another {name}: {changes}. Continue with the same, or choose another "
            "folder for a new run"
        )
