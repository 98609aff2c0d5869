"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to, which takes its place at the end; after an exception it stays.

    So may a file be written over that is mapped into memory: what is mapped is the earlier one. What is no
    plain file (a device, a pipe) is written to as it is.
    """
    # A link goes on pointing where it does.
    target = target.resolve()
    if target.exists() and not target.is_file():
        yield target
        return
    # No ending that lists of models show, and no name that another process takes.
    unfinished = target.with_name(f"{target.name}.unfinished-{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
