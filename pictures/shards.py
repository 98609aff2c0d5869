"""Tar shards as img2dataset and WebDataset write them: where their files begin, and pictures in them."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .reading import PICTURE_ENDINGS

ENDING = ".tar"
# What a layout is called in a shard: its own ending, because img2dataset's .json is of the download.
LAYOUT_ENDING = ".layout.json"
_BLOCK = 512
# Fields of a tar header (POSIX.1-1988); the prefix of a long name begins at the last.
_NAME, _LENGTH, _CHECKSUM, _TYPE, _LONG_NAME = slice(0, 100), slice(124, 136), slice(148, 156), 156, 345
_REGULAR = frozenset(tarfile.REGTYPE + tarfile.AREGTYPE)
_ADLER = 65_521
# Shards whose files are remembered: pictures come in order, to several processes in turn.
_REMEMBERED = 4


class ShardError(ValueError):
    """A tar archive that cannot be read where it lies."""


class Member(NamedTuple):
    """A file in a shard: its name, and where its content is."""

    name: str
    start: int
    length: int


class Shards:
    """Pictures of shards by the way to them, which goes through a shard as through a folder.

    `a/00000.tar/KEY.jpg` is the picture KEY.jpg of the shard `a/00000.tar`. Other ways are those of files.
    """

    def __init__(self) -> None:
        self._files = lru_cache(maxsize=_REMEMBERED)(_files_of)

    def pictures(self, shard: Path) -> list[Path]:
        """The pictures of a shard; `ShardError` for one that cannot be read."""
        names = (name for name in self._files(shard) if Path(name).suffix.lower() in PICTURE_ENDINGS)
        return [shard / name for name in sorted(names) if not Path(name).name.startswith(".")]

    def shard_of(self, path: Path) -> Path | None:
        """The shard that a way goes through, None for a file of its own."""
        return next((one for one in path.parents if one.suffix == ENDING and one.is_file()), None)

    def has(self, path: Path) -> bool:
        """Whether there is such a file."""
        shard = self.shard_of(path)
        return path.is_file() if shard is None else path.relative_to(shard).as_posix() in self._files(shard)

    def picture(self, path: Path) -> Path | BinaryIO:
        """What a picture is read from: its own file, or its content out of a shard."""
        return path if self.shard_of(path) is None else io.BytesIO(self.content(path))

    def content(self, path: Path) -> bytes:
        """What a file holds; OSError where it is not there."""
        shard = self.shard_of(path)
        if shard is None:
            return path.read_bytes()
        member = self._files(shard).get(path.relative_to(shard).as_posix())
        if member is None:
            raise FileNotFoundError(f"{shard.name} has no file {path.relative_to(shard)}")
        with shard.open("rb") as file:
            file.seek(member.start)
            return file.read(member.length)

    def stamp(self, path: Path) -> list[int]:
        """What changes with a file's content: bytes and time of last change, of the shard with its place."""
        shard = self.shard_of(path)
        status = (shard or path).stat()
        if shard is None:
            return [status.st_size, status.st_mtime_ns]
        member = self._files(shard)[path.relative_to(shard).as_posix()]
        return [status.st_size, status.st_mtime_ns, member.start]


def layout_beside(shard: Path, picture: str) -> Path:
    """The layout of a shard's picture beside it: `a/00000.tar`, `b/KEY.jpg` -> `a/00000/KEY.json`."""
    stem, _ = os.path.splitext(os.path.basename(picture))
    return shard.with_name(shard.name[: -len(ENDING)]) / f"{stem}.json"


def _files_of(shard: Path) -> dict[str, Member]:
    return {member.name: member for member in members(shard)}


def members(shard: Path) -> Iterator[Member]:
    """Files of a tar archive from its headers alone; `ShardError` for one that is cut off or compressed."""
    size = shard.stat().st_size
    with shard.open("rb", buffering=0) as file:
        position = 0
        while position + _BLOCK <= size:
            file.seek(position)
            head = file.read(_BLOCK)
            if not head.strip(b"\0"):
                return
            plain = _plain_file(head)
            if plain is None:
                try:
                    one = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
                except tarfile.HeaderError as error:
                    raise ShardError(
                        f"{shard} is no plain tar archive, or a damaged one ({error}); unpack compressed ones"
                    ) from error
                if one.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
                    # Long names and the like have headers of their own, which the library knows.
                    yield from _read_by_library(shard, position)
                    return
                plain = one.name, one.size, one.isfile()
            name, length, is_file = plain
            start = position + _BLOCK
            if start + length > size:
                raise ShardError(f"{shard} is cut off within {name}; download it again")
            if is_file:
                yield Member(name.removeprefix("./"), start, length)
            position = start + -(-length // _BLOCK) * _BLOCK


def _plain_file(head: bytes) -> tuple[str, int, bool] | None:
    """Name and length of a regular file from its header, None for what the library has to look at.

    A tenth of the library's time, which counts where there are millions of headers.
    """
    if head[_TYPE] not in _REGULAR or head[_LONG_NAME] != 0:
        return None
    try:
        told, length = (int(head[field].rstrip(b" \0"), 8) for field in (_CHECKSUM, _LENGTH))
        name = head[_NAME].partition(b"\0")[0].decode("utf-8")
    except ValueError:
        return None
    # The sum of all bytes with the checksum's own as spaces; Adler's low half is the sum, from 1, in C.
    total = told - len(head[_CHECKSUM]) * ord(" ") + sum(head[_CHECKSUM])
    if zlib.adler32(head) & 0xFFFF != (total + 1) % _ADLER or name.endswith("/"):
        return None
    return name, length, True


def _read_by_library(shard: Path, position: int) -> Iterator[Member]:
    try:
        with tarfile.open(shard, "r:") as archive:
            for one in archive:
                if one.isfile() and one.offset >= position:
                    yield Member(one.name.removeprefix("./"), one.offset_data, one.size)
    except tarfile.TarError as error:
        raise ShardError(f"{shard} cannot be read as a tar archive: {error}") from error
