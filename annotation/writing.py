"""Files of an annotated folder: written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex


def replace_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside the target, which then takes its place; before a failure it stays."""
    # A name that is nobody else's: processes that share the pictures place the same shard at once.
    unfinished = target.with_name(f"{target.name}.unfinished-{token_hex(4)}")
    try:
        write(unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """A second name for a file, in place of what has it; a copy where the file system has none."""
    if target.exists() and target.samefile(source):
        return
    replace_whole(target, lambda unfinished: _link_or_copy(source, unfinished))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        # Across file systems too.
        shutil.copyfile(source, target)
