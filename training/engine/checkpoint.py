"""Checkpoints of a run: everything needed to continue it bit for bit, and the last ones before it."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger("instance_composer")

FILE = "checkpoint.pt"
BEST = "checkpoint-best.pt"
_EARLIER = re.compile(r"checkpoint-(\d+)\.pt")


class ResumeError(ValueError):
    """A run that cannot be continued with what was asked for."""


class ChangedRunError(ResumeError):
    """A run that was started with something else; `trouble` says with what, without what to do."""

    def __init__(self, trouble: str) -> None:
        super().__init__(f"{trouble}. Continue with the same, or choose another folder for a new run")
        self.trouble = trouble


def write_run(folder: Path, state: dict[str, Any], keep: int = 1) -> None:
    """Write a run's state (tensors and plain values); an interruption leaves the previous one intact.

    Of the last `keep` checkpoints the newest is `checkpoint.pt`, those before are `checkpoint-<step>.pt`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beginning = folder / f"{FILE}.part"
    torch.save(state, beginning)
    if keep > 1:
        _set_aside(folder, state["step"])
    os.replace(beginning, folder / FILE)
    for file in earlier(folder)[max(0, keep - 1) :]:
        file.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a text over an earlier one; an interruption leaves that one as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning = path.with_name(f"{path.name}.part")
    beginning.write_text(text, encoding="utf-8")
    os.replace(beginning, path)


def earlier(folder: Path) -> list[Path]:
    """The checkpoints before the newest, latest first."""
    found = ((_EARLIER.fullmatch(file.name), file) for file in folder.glob("checkpoint-*.pt"))
    steps = {file: int(match[1]) for match, file in found if match}
    return sorted(steps, key=lambda file: steps[file], reverse=True)


def _set_aside(folder: Path, step: int) -> None:
    """Give the newest checkpoint a name of its own beside `checkpoint.pt`, unless it is of this step."""
    newest = folder / FILE
    if not newest.is_file():
        return
    before: int = torch.load(newest, map_location="cpu", weights_only=True, mmap=True)["step"]
    if before == step:
        return
    _second_name(newest, folder / f"checkpoint-{before:06d}.pt")


def keep_best(folder: Path) -> None:
    """Keep the newest checkpoint as `checkpoint-best.pt`, in place of the one before."""
    if (folder / FILE).is_file():
        _second_name(folder / FILE, folder / BEST)


def _second_name(newest: Path, aside: Path) -> None:
    beginning = aside.with_suffix(".part")
    beginning.unlink(missing_ok=True)
    try:
        # Two names of one file cost nothing.
        os.link(newest, beginning)
    except OSError:
        shutil.copyfile(newest, beginning)
    os.replace(beginning, aside)


def has_run(folder: Path) -> bool:
    """Whether there is a checkpoint in `folder` to go on from."""
    return (folder / FILE).is_file()


def read_run(folder: Path) -> dict[str, Any] | None:
    """The state of the run in `folder`, None if there is none; `ResumeError` for a damaged file.

    Nothing but tensors and plain values is ever unpickled. Tensors lie in the file, which is mapped into
    memory: several processes of a machine read it once, and what is to outlive it is copied.
    """
    path = folder / FILE
    if not has_run(folder):
        return None
    try:
        # The next checkpoint is another file that takes the name of this one, which is never written to. What
        # is cut off cannot be mapped, and is told for what it is.
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        kept = earlier(folder)
        way = (
            f"rename {kept[0].name} to {FILE} to continue from there"
            if kept
            else "move it away to start over"
        )
        raise ResumeError(
            f"{path} is no checkpoint of a run, or a damaged one ({' '.join(str(error).split())}); {way}"
        ) from error


def _is_same(before: Any, now: Any) -> bool:
    # Of texts earlier versions kept the number alone, where there is a digest behind it now.
    if type(before) is int and isinstance(now, str):
        return now.startswith(f"{before} of ")
    return before == now


def check_same(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """`ChangedRunError` unless what was asked for now is what the run was started with."""
    changed = sorted(key for key in {*before, *now} if not _is_same(before.get(key), now.get(key)))
    if changed:
        changes = ", ".join(f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in changed)
        raise ChangedRunError(f"this run was started with another {name}: {changes}")


def shared_parts(batches: int, asked: int, processes: int) -> int:
    """Parts of a step for this number of processes that make as many batches as the run began with."""
    if asked * processes == batches:
        return asked
    if batches % processes:
        raise ResumeError(
            f"this run makes {batches} batches a step, which {processes} processes cannot share evenly; "
            f"continue it with a number of processes that divides {batches}"
        )
    logger.warning(
        "this run makes %d batches a step: with %d processes accumulate is %d instead of %d",
        batches,
        processes,
        batches // processes,
        asked,
    )
    return batches // processes
