"""Pictures with layouts as a Parquet table lists them, so that no folder has to be looked through.

The layouts are copied once into a file that is mapped into memory: a Parquet file is read a group of rows at
a time, and training asks for single ones in any order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import SourceError
from .keys import LENGTH, key_of
from .looking.picture import Entry, Place
from .names import NamesBuilder
from .picture_files import state_of

ENDING = ".parquet"
# Columns: the way to the picture from the table's folder, and the layout document as JSON.
IMAGE, LAYOUT = COLUMNS = ("image", "layout")
_ROWS = 8192


class PictureTable:
    """The rows of a Parquet file with the columns `image` and `layout`, by the names of their pictures.

    The mapped file is kept in `kept` for the next start and for other processes; without it the table is held
    in memory. `SourceError` for a file that is no such table, and without pyarrow.
    """

    def __init__(self, path: Path, kept: Path | None = None) -> None:
        self.folder = path.parent
        self._arrow = _pyarrow()
        self._table = self._mapped(path, kept) if kept is not None else self._in_memory(path)
        names = NamesBuilder()
        for batch in self._table.column(IMAGE).chunks:
            for name in batch.to_pylist():
                names.append(name or "")
        self.names, order = names.in_order()
        self._rows = np.arange(len(self.names), dtype=np.int64)[order]

    def __len__(self) -> int:
        return len(self.names)

    def keep(self, numbers: np.ndarray) -> None:
        """Go on with these alone."""
        self.names = self.names.select(numbers)
        self._rows = self._rows[numbers]

    def stamps(self, purpose: str) -> np.ndarray:
        """A stamp (n, 16) of every picture's file and its layout, as `PictureFiles` has them."""
        before = purpose.encode()
        found = bytearray()
        for number in range(len(self)):
            digest = blake2b(before, digest_size=LENGTH)
            own = state_of(self.folder / self.names[number])
            digest.update(own + self.names.encoded(number) + b"\0" + self.layout(number))
            found += digest.digest()
        return np.frombuffer(found, np.uint8).reshape(-1, LENGTH)

    def open(self, number: int) -> BinaryIO:
        """The file of a picture."""
        return (self.folder / self.names[number]).open("rb")

    def entry(self, number: int) -> Entry:
        """Where a picture is, and its layout's text."""
        return Entry(Place(os.path.join(self.folder, self.names[number])), self.layout(number))

    def layout(self, number: int) -> bytes:
        """The text of a picture's layout; nothing where the table has none."""
        text = self._table.column(LAYOUT)[int(self._rows[number])].as_buffer()
        return b"" if text is None else text.to_pybytes()

    def _mapped(self, path: Path, kept: Path) -> Any:
        place = kept / f"{key_of(str(path.absolute()), state_of(path).hex()).hex()}.arrow"
        if not place.is_file():
            kept.mkdir(parents=True, exist_ok=True)
            beginning = place.with_suffix(f".{os.getpid()}.part")
            write, schema = self._arrow.ipc.new_file, self._schema()
            with self._arrow.OSFile(str(beginning), "wb") as sink, write(sink, schema) as writer:
                for batch in self._batches(path):
                    writer.write_batch(batch)
            os.replace(beginning, place)
        return self._arrow.ipc.open_file(self._arrow.memory_map(str(place))).read_all()

    def _in_memory(self, path: Path) -> Any:
        return self._arrow.Table.from_batches([*self._batches(path)], schema=self._schema())

    def _schema(self) -> Any:
        return self._arrow.schema([(name, self._arrow.string()) for name in COLUMNS])

    def _batches(self, path: Path) -> Iterator[Any]:
        """The two columns as texts, some rows at a time."""
        parquet: Any = import_module("pyarrow.parquet")
        try:
            with parquet.ParquetFile(path) as file:
                there = file.schema_arrow.names
                if missing := [name for name in COLUMNS if name not in there]:
                    raise SourceError(
                        f"{path} has no column {' and no column '.join(missing)}; a table of pictures has "
                        f"the way to each in {IMAGE} and its layout document, as JSON, in {LAYOUT}, and this "
                        f"one has {', '.join(there)}"
                    )
                for batch in file.iter_batches(_ROWS, columns=[*COLUMNS]):
                    yield self._arrow.record_batch(
                        [batch.column(name).cast(self._arrow.string()) for name in COLUMNS],
                        schema=self._schema(),
                    )
        except (self._arrow.ArrowException, OSError) as error:
            raise SourceError(f"{path} cannot be read as a Parquet table of texts: {error}") from error


def _pyarrow() -> Any:
    try:
        return import_module("pyarrow")
    except ImportError as error:
        raise SourceError(
            "a Parquet table is read by pyarrow, which is not installed; get it with: pip install pyarrow, "
            f"or give a folder ({error})"
        ) from error
