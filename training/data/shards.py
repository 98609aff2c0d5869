"""Shards: numbered entries in files of equal length, of which only so many are open at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

ShardT = TypeVar("ShardT")

# Enough for a small data set to stay open whole; of a large one any entry is one file away.
_OPEN = 32


class Shards(Generic[ShardT]):
    """The files of a data set, each of `length` entries but for a shorter last one.

    An entry is found by its number alone. So the position of a run in its data is a plain number, that of the
    batch, which follows from the step in its checkpoint: nothing of a reader's state has to be kept.
    """

    def __init__(
        self, files: Sequence[Path], length: int, read: Callable[[Path], ShardT], most: int = _OPEN
    ) -> None:
        self.files, self.length = files, length
        self._read = lru_cache(maxsize=most)(read)

    def find(self, number: int) -> tuple[ShardT, int]:
        """The shard of an entry, opened if it is not, and the entry's row in it."""
        shard, row = divmod(number, self.length)
        return self._read(self.files[shard]), row
