"""Pictures with layouts as they lie: in folders, and in tar shards as img2dataset and WebDataset write them.

Nothing of a shard is unpacked: where each picture begins in it is found from its headers, and read there.
"""

from __future__ import annotations

import io
import os
import struct
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from ...pictures.reading import PICTURE_ENDINGS
from ...pictures.shards import ENDING, LAYOUT_ENDING, Member, ShardError, layout_beside, members
from .errors import SourceError
from .keys import LENGTH
from .looking.picture import Entry, Place
from .names import NamesBuilder

_JSON = ".json"
_NOWHERE = -1


class PictureFiles:
    """Every picture of a folder, of those below it and of tar shards in them that has a layout.

    A layout of `name.jpg` is `name.json` beside it. For a picture of the shard `00000.tar` it is
    `name.layout.json` in the shard, `00000/name.json` beside it, or `name.json` in the shard. Names tell the
    way from the folder and go through a shard as through a folder; they are in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: list[str] = []
        names = NamesBuilder()
        # Shard, then start and length of the picture and of its layout; -1 is a file of its own. Numbers and
        # no objects, because there may be a million.
        places = array("q")
        for name, place in _found(folder, self._shards):
            names.append(name)
            places.extend(place)
        self._whole = [self._way(shard) for shard in self._shards]
        self.names, order = names.in_order()
        self._places = np.frombuffer(places, np.int64).reshape(-1, 5)[order]

    def __len__(self) -> int:
        return len(self.names)

    def keep(self, numbers: np.ndarray) -> None:
        """Go on with these alone."""
        self.names = self.names.select(numbers)
        self._places = self._places[numbers]

    def stamps(self, purpose: str) -> np.ndarray:
        """A stamp (n, 16) of every picture and its layout, another one as soon as either file is written to.

        It depends on `purpose` too, which says what is looked at.
        """
        shards = [state_of(self.folder / shard) for shard in self._shards]
        before = purpose.encode()
        found = bytearray()
        for number, (shard, _, _, start, _) in enumerate(self._places.tolist()):
            own = shards[shard] if shard != _NOWHERE else state_of(self.folder / self.names[number])
            digest = blake2b(before, digest_size=LENGTH)
            digest.update(own + self._places[number].tobytes() + self.names.encoded(number))
            if start == _NOWHERE:
                digest.update(state_of(self._layout_file(number, shard)))
            found += digest.digest()
        return np.frombuffer(found, np.uint8).reshape(-1, LENGTH)

    def open(self, number: int) -> BinaryIO:
        """A picture's file, or its content out of a shard; OSError where it is gone."""
        shard, start, length, _, _ = map(int, self._places[number])
        if shard == _NOWHERE:
            return (self.folder / self.names[number]).open("rb")
        return io.BytesIO(self._read(shard, start, length))

    def entry(self, number: int) -> Entry:
        """Where a picture and its layout are, for a look at them."""
        shard, start, length, at, count = self._places[number].tolist()
        inside = self._whole[shard] if shard != _NOWHERE else ""
        picture = Place(inside, start, length) if inside else Place(self._way(self.names[number]))
        layout = Place(inside, at, count) if at != _NOWHERE else Place(str(self._layout_file(number, shard)))
        return Entry(picture, layout)

    def layout(self, number: int) -> bytes:
        """The text of a picture's layout."""
        shard, _, _, start, length = map(int, self._places[number])
        if start == _NOWHERE:
            return self._layout_file(number, shard).read_bytes()
        return self._read(shard, start, length)

    def _way(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _layout_file(self, number: int, shard: int) -> Path:
        """Where a layout is that lies in no shard."""
        path = PurePosixPath(self.names[number])
        if shard == _NOWHERE:
            return self.folder / path.with_suffix(_JSON)
        return layout_beside(self.folder / self._shards[shard], path.name)

    def _read(self, shard: int, start: int, length: int) -> bytes:
        with (self.folder / self._shards[shard]).open("rb") as file:
            file.seek(start)
            return file.read(length)


def state_of(path: Path) -> bytes:
    """What changes with any writing to a file; nothing where it is gone, which reading it will tell."""
    try:
        found = os.stat(path)
    except OSError:
        return b""
    return struct.pack("<3q", found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _found(folder: Path, shards: list[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and places; the names of shards are put into `shards`."""
    if not folder.is_dir():
        return
    for where, below, files in os.walk(folder, followlinks=True):
        # In order, so that little is left to sort.
        below[:] = sorted(one for one in below if not one.startswith("."))
        files.sort()
        way = "" if where == str(folder) else f"{Path(where).relative_to(folder).as_posix()}/"
        seen = [file for file in files if not file.startswith(".")]
        layouts = {file[: -len(_JSON)] for file in seen if file.endswith(_JSON)}
        for file in seen:
            stem, ending = os.path.splitext(file)
            if ending.lower() in PICTURE_ENDINGS and stem in layouts:
                yield f"{way}{file}", (_NOWHERE,) * 5
            elif ending == ENDING:
                shards.append(f"{way}{file}")
                yield from _in_shard(folder, f"{way}{file}", len(shards) - 1)


def _members(shard: Path) -> Iterator[Member]:
    try:
        yield from members(shard)
    except ShardError as error:
        raise SourceError(str(error)) from error


def _in_shard(folder: Path, shard: str, number: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    pictures: list[Member] = []
    layouts: dict[str, Member] = {}
    for member in _members(folder / shard):
        stem, ending = os.path.splitext(member.name)
        if ending.lower() in PICTURE_ENDINGS:
            pictures.append(member)
        elif member.name.endswith(LAYOUT_ENDING):
            layouts[member.name[: -len(LAYOUT_ENDING)]] = member
        elif ending == _JSON:
            layouts.setdefault(stem, member)
    beside = folder / shard[: -len(ENDING)]
    outside = {file.stem for file in beside.glob(f"*{_JSON}")} if beside.is_dir() else set[str]()
    for picture in sorted(pictures):
        stem = os.path.splitext(picture.name)[0]
        own = layouts.get(stem)
        if os.path.basename(stem) in outside and not (own and own.name.endswith(LAYOUT_ENDING)):
            own = Member("", _NOWHERE, _NOWHERE)
        if own is not None:
            place = (number, picture.start, picture.length, own.start, own.length)
            yield f"{shard}/{picture.name}", place
