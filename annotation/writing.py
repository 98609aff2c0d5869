"""Files of an annotated folder: written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def replace_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside the target, which then takes its place; before a failure it stays."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        write(unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
