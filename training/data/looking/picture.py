"""One look at a picture and its layout: size, key, things."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ....layout import LayoutError
from ....pictures.heads import plain_size
from ....pictures.reading import PictureError, picture_size
from ..errors import SourceError
from .fitting import check_upright, nearest, things_left

# Bytes at both ends of a file that are looked at: with its length they change with any edit of a picture, and
# a million files are told apart without reading all of them.
ENDS = 16_384
KEY = 16


class Look(NamedTuple):
    """A picture's width and height, the key that its latent is found by, and how many things its layout has
    in what is trained of it."""

    size: tuple[int, int]
    key: bytes
    things: int


class Place(NamedTuple):
    """Bytes of a file: `length` from `start`, or all of it where the length is negative."""

    path: str
    start: int = 0
    length: int = -1


class Entry(NamedTuple):
    """Where a picture is, and its layout's text or where that is."""

    picture: Place
    layout: Place | bytes


class Looker:
    """Looks at one picture after the other; the file of the last stays open, because a shard has many."""

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Pictures are to be of that of these sizes which is nearest to their proportion."""
        self._size_for = lru_cache(maxsize=4096)(
            lambda own: sizes[int(nearest(np.array([own]), sizes)[0])] if len(sizes) > 1 else sizes[0]
        )
        self._path: str | None = None
        self._file: io.FileIO | None = None

    def __enter__(self) -> Looker:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
        self._path = self._file = None

    def look(self, entry: Entry) -> Look | str:
        """What is found, or in words what is wrong with the picture or its layout."""
        try:
            own, key = self._picture(entry.picture)
            layout = entry.layout
            text = layout if isinstance(layout, bytes) else self._part(layout).all()
            things = things_left(text, own, *self._size_for(own))
            check_upright(text, own)
            return Look(own, key, things)
        except (LayoutError, PictureError, SourceError, OSError) as error:
            return " ".join(str(error).split())

    def _picture(self, place: Place) -> tuple[tuple[int, int], bytes]:
        """Size and key: a digest of the length and both ends."""
        part = self._part(place)
        head = part.read(0, ENDS)
        digest = hashlib.sha256(part.length.to_bytes(8, "little") + head)
        if part.length > ENDS:
            digest.update(part.read(part.length - ENDS, ENDS))
        size = plain_size(part.read, head)
        return picture_size(io.BytesIO(part.all())) if size is None else size, digest.digest()[:KEY]

    def _part(self, place: Place) -> _Part:
        if self._file is None or place.path != self._path:
            self.__exit__()
            # It has no buffer: of a picture only the ends are read.
            self._file, self._path = io.FileIO(place.path), place.path
        length = place.length if place.length >= 0 else self._file.seek(0, io.SEEK_END)
        return _Part(self._file, place.start, length)


class _Part(NamedTuple):
    file: io.FileIO
    start: int
    length: int

    def read(self, at: int, count: int) -> bytes:
        self.file.seek(self.start + at)
        return self.file.read(max(0, min(count, self.length - at)))

    def all(self) -> bytes:
        return self.read(0, self.length)
