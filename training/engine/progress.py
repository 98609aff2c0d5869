"""Progress bars of runs, all alike."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_bar(name: str, unit: str, total: int, done: int = 0, *, shown: bool = True) -> Any:
    """A bar to be updated within a `with` block; seldom drawn, because runs are long and logs are files."""
    return tqdm(desc=name, unit=unit, total=total, initial=done, disable=not shown, mininterval=5)
