"""What looking at every picture and layout finds, kept for the next start and shared by processes.

A look is kept under a stamp of both files, which changes whenever one of them is written. So a data set that
nobody touched is not read again, and of a new one every process looks at a share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ...models.weights import read_metadata, save_weights
from ..engine.processes import this_process
from ..engine.progress import progress_bar
from .keys import LENGTH, NOWHERE, KeyIndex, share_of
from .looking.picture import Look

# Pictures in a file of looks: what an interruption can lose.
_FILE = 4096
# How often a process looks whether the others are done.
_LOOK = 0.5
_WRONG = "wrong"


@dataclass(frozen=True, eq=False)
class Looks:
    """Looks at n pictures: sizes (n, 2), keys (n, 16), things (n); the width is 0 where nobody has looked."""

    sizes: np.ndarray
    keys: np.ndarray
    things: np.ndarray

    @classmethod
    def blank(cls, count: int) -> Looks:
        """None looked at yet."""
        keys = np.zeros((count, LENGTH), np.uint8)
        return cls(np.zeros((count, 2), np.int32), keys, np.zeros(count, np.int32))

    def select(self, numbers: np.ndarray) -> Looks:
        """Those of these pictures alone."""
        return Looks(self.sizes[numbers], self.keys[numbers], self.things[numbers])

    def put(self, numbers: np.ndarray, looks: Looks) -> None:
        """Fill in those of these pictures."""
        self.sizes[numbers], self.keys[numbers] = looks.sizes, looks.keys
        self.things[numbers] = looks.things

    @property
    def missing(self) -> np.ndarray:
        """The numbers of pictures that nobody has looked at."""
        return np.flatnonzero(self.sizes[:, 0] == 0)


def look_at_all(
    looks: Looks,
    look: Callable[[np.ndarray], Iterator[Look | str]],
    stamps: np.ndarray | None = None,
    place: Path | None = None,
    *,
    write: bool = True,
    shown: bool = True,
) -> dict[int, str]:
    """Fill in what is missing of `looks`; what is wrong with a picture or its layout, by its number.

    `look` gives what is found at pictures of these numbers, one after the other, or what is wrong with it.

    Stamps (n, 16) and the folder `place` are given where looks are kept: then each process looks at a share,
    or at all of them without `write`. What is wrong is looked at again at the next start.
    """
    kept = None
    if stamps is not None and place is not None:
        kept = _Kept(place)
        kept.fill(looks, stamps)
    missing = looks.missing
    if kept is None or stamps is None or place is None or not write:
        with progress_bar("check", "picture", len(missing), shown=shown) as progress:
            return _fill(missing, looks, look(missing), progress.update)
    state = this_process()
    shares = share_of(stamps[missing], state.num_processes)
    own, others = (missing[shares == state.process_index], missing[shares != state.process_index])
    wrong: dict[int, str] = {}
    with progress_bar("check", "picture", len(own), shown=shown) as progress:
        looked = look(own)
        for first in range(0, len(own), _FILE):
            numbers = own[first : first + _FILE]
            found = _fill(numbers, looks, islice(looked, len(numbers)), progress.update)
            _write(place, numbers, looks, found, stamps)
            wrong |= found
    while len(others):
        kept.read()
        kept.fill(looks, stamps)
        wrong |= {n: kept.wrong[key] for n in others.tolist() if (key := stamps[n].tobytes()) in kept.wrong}
        others = np.array([n for n in others.tolist() if not looks.sizes[n, 0] and n not in wrong], np.int64)
        if len(others):
            time.sleep(_LOOK)
    return wrong


def _fill(
    numbers: np.ndarray, looks: Looks, looked: Iterator[Look | str], on_picture: Callable[[], object]
) -> dict[int, str]:
    wrong: dict[int, str] = {}
    for number, one in zip(numbers.tolist(), looked, strict=True):
        if isinstance(one, str):
            wrong[number] = one
        else:
            looks.keys[number] = np.frombuffer(one.key, np.uint8)
            looks.things[number], looks.sizes[number] = one.things, one.size
        on_picture()
    return wrong


def _write(place: Path, numbers: np.ndarray, looks: Looks, wrong: dict[int, str], stamps: np.ndarray) -> None:
    """One file: whole under its name, or not there."""
    good = np.array([number for number in numbers.tolist() if number not in wrong], np.int64)
    part = looks.select(good)
    tensors = {"stamps": stamps[good], "sizes": part.sizes, "keys": part.keys, "things": part.things}
    said = {stamps[number].tobytes().hex(): reason for number, reason in wrong.items()}
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{stamps[numbers[0]].tobytes().hex()}-{len(numbers)}.safetensors"
    beginning = file.with_suffix(f".{os.getpid()}.part")
    save_weights(
        {name: torch.from_numpy(value) for name, value in tensors.items()},
        beginning,
        {_WRONG: json.dumps(said)},
    )
    os.replace(beginning, file)


class _Kept:
    """The looks in a folder, and what was wrong at an earlier one, by stamp."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._seen: set[Path] = set()
        self._new: list[dict[str, np.ndarray]] = []
        self.wrong: dict[bytes, str] = {}
        self.read()

    def read(self) -> None:
        """Look for files that others have written since."""
        for file in sorted(self._place.glob("*.safetensors")):
            if file not in self._seen:
                self._seen.add(file)
                self._new.append({name: value.numpy() for name, value in load_file(file).items()})
                said = read_metadata(file, _WRONG)
                self.wrong |= {bytes.fromhex(stamp): reason for stamp, reason in said.items()}

    def fill(self, looks: Looks, stamps: np.ndarray) -> None:
        """Fill in what was read since the last call."""
        if not self._new:
            return
        parts, self._new = self._new, []
        index = KeyIndex.of_keys([np.concatenate([part["stamps"] for part in parts])])
        rows = index.find(stamps)[:, 1]
        numbers = np.flatnonzero((rows != NOWHERE) & (looks.sizes[:, 0] == 0))
        sizes, keys, things = (
            np.concatenate([part[name] for part in parts])[rows[numbers]]
            for name in ("sizes", "keys", "things")
        )
        looks.put(numbers, Looks(sizes, keys, things))
