"""Keys of 16 bytes, and where what belongs to each lies: sorted numbers, which a file can hold and map."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ...models.weights import save_weights

LENGTH = 16
# What is not there.
NOWHERE = -1


def key_of(*parts: str) -> bytes:
    """A digest of texts and of where one ends and the next begins."""
    digest = hashlib.blake2b(digest_size=LENGTH)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.digest()


def as_rows(keys: Iterable[bytes]) -> np.ndarray:
    """Keys as bytes (n, 16), which is how files hold them."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, LENGTH)


def distinct(keys: np.ndarray) -> np.ndarray:
    """The same keys (n, 16), each once."""
    halves = _halves(keys)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    ordered = halves[order]
    new = np.ones(len(keys), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return keys[order[new]]


def share_of(keys: np.ndarray, processes: int) -> np.ndarray:
    """Which of so many processes each key (n, 16) falls to."""
    return (_halves(keys)[:, 1] % np.uint64(processes)).astype(np.int64)


def _halves(keys: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 2)


class KeyIndex:
    """Places (file, row) of keys; `NOWHERE` for those that are not there.

    24 bytes a key, in one file that every process maps, so that none has a copy of its own.
    """

    def __init__(self, said: Mapping[str, torch.Tensor]) -> None:
        """What `_sorted` makes: both halves (n) of keys, sorted by the first, and places (n, 2)."""
        self._first, self._second = (said[name].numpy().view(np.uint64) for name in ("first", "second"))
        self._places = said["places"].numpy()

    def __len__(self) -> int:
        return len(self._first)

    @classmethod
    def of_files(cls, files: Sequence[Path], keys_in: Callable[[Path], np.ndarray], folder: Path) -> KeyIndex:
        """The keys (n, 16) that each file holds, in their order; the index is kept in `folder` for the next
        start and for other processes."""
        names = key_of(*(file.name for file in files)).hex()
        path = folder / f"index-{names}.safetensors"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            beginning = path.with_suffix(f".{os.getpid()}.part")
            save_weights(_sorted([keys_in(file) for file in files]), beginning)
            os.replace(beginning, path)
        return cls(load_file(path))

    @classmethod
    def of_keys(cls, keys: Sequence[np.ndarray]) -> KeyIndex:
        """As `of_files`, of keys (n, 16) in memory, an array for each file."""
        return cls(_sorted(keys))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Places (n, 2) of keys (n, 16)."""
        found = np.full((len(keys), 2), NOWHERE, np.int32)
        if not len(self) or not len(keys):
            return found
        halves = _halves(keys)
        at = np.searchsorted(self._first, halves[:, 0])
        left = np.flatnonzero(at < len(self))
        # As a rule one look: two keys with the same first half would need another.
        while len(left):
            left = left[self._first[at[left]] == halves[left, 0]]
            right = self._second[at[left]] == halves[left, 1]
            found[left[right]] = self._places[at[left[right]]]
            left = left[~right]
            at[left] += 1
            left = left[at[left] < len(self)]
        return found


def _sorted(keys: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    counts = [len(one) for one in keys]
    rows = np.concatenate([np.zeros((0, LENGTH), np.uint8), *keys])
    halves = _halves(rows)
    order = np.argsort(halves[:, 0], kind="stable")
    file = np.repeat(np.arange(len(keys), dtype=np.int32), counts)
    row = np.concatenate([np.zeros(0, np.int32), *(np.arange(count, dtype=np.int32) for count in counts)])
    first, second = (halves[order, half].view(np.int64).copy() for half in (0, 1))
    places = np.stack((file, row), axis=1)[order]
    return {
        "first": torch.from_numpy(first),
        "second": torch.from_numpy(second),
        "places": torch.from_numpy(np.ascontiguousarray(places)),
    }
