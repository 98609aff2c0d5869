"""Files of the command line: written whole or not at all, and pipes read as if they were files."""

from __future__ import annotations

import os
import select
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Seconds that a pipe without a writer is waited for.
PATIENCE = 5.0


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` when it is whole, and nothing when writing fails.

    It is new: a file of that name that somebody else left stays. What is no plain file (a device, a pipe) is
    written to as it is. Raises OSError where the folder cannot be written.
    """
    # A link goes on pointing where it does.
    target = target.resolve()
    if target.exists() and not target.is_file():
        yield target
        return
    unfinished = _new_beside(target)
    try:
        yield unfinished
        if target.exists():
            shutil.copymode(target, unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(target: Path, data: bytes) -> None:
    """Write a file at once: before a failure the older one is as it was."""
    with whole(target) as unfinished:
        unfinished.write_bytes(data)


def read_text(file: Path) -> str:
    """A text in UTF-8, with or without a byte order mark; ValueError names a file that is none."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _new_beside(target: Path) -> Path:
    number = 1
    while True:
        mark = "unfinished" if number == 1 else f"unfinished-{number}"
        path = target.with_name(f"{target.stem}.{mark}{target.suffix}")
        try:
            # Made now, so that nobody else takes the name, and a folder that cannot be written is told first.
            path.open("xb").close()
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(target)) from None
        return path


def is_pipe(path: Path) -> bool:
    """Whether a path is a named pipe, or that of `<(command)` in a shell."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def read_pipe(path: Path) -> bytes:
    """All that comes through a pipe; ValueError if nobody writes into it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not select.select([descriptor], [], [], PATIENCE)[0]:
            raise ValueError(f"{path} is a pipe that nothing writes into")
        os.set_blocking(descriptor, True)
        return file.read()
