"""Rows of a data set as its hub hands it on: JSON lines, a Parquet file, or a folder of Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...benchmark import PlanError

_ENDING = ".parquet"
_NO_PYARROW = (
    "is Parquet, which needs pyarrow: pip install pyarrow, or write the rows without pictures as JSON lines"
)


def rows(data: Path, columns: Sequence[str], limit: int | None = None) -> Iterator[tuple[str, Any]]:
    """Rows with where each stands ("line 3 of rows.jsonl"), the first `limit`; `PlanError` for other files.

    Of Parquet only `columns` are read, so that pictures in it cost nothing; those that it lacks are left out.
    A folder is read file by file in the order of their names, as shards of one split are numbered.
    """
    if data.is_dir() or data.suffix == _ENDING:
        found: Iterable[tuple[str, Any]] = _parquet_rows(_files(data), columns)
    else:
        found = _json_lines(data)
    for number, one in enumerate(found):
        if limit is not None and number >= limit:
            return
        yield one


def _json_lines(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate((one for one in lines if one.strip()), 1):
                place = f"line {number} of {file}"
                try:
                    yield place, json.loads(line)
                except ValueError as error:
                    raise PlanError(f"{place} is no JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{file} is no text; JSON lines or a file ending {_ENDING} is needed") from error


def _files(data: Path) -> list[Path]:
    files = sorted(data.rglob(f"*{_ENDING}")) if data.is_dir() else [data]
    if not files:
        raise PlanError(f"there is no file ending {_ENDING} in {data}")
    return files


def _parquet_rows(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if find_spec("pyarrow") is None:
        raise PlanError(f"{files[0]} {_NO_PYARROW}")
    # An extra, imported where it is used alone.
    import pyarrow  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet  # pyright: ignore[reportMissingImports]

    for file in files:
        try:
            with pyarrow.parquet.ParquetFile(file) as table:  # pyright: ignore
                there = [name for name in columns if name in table.schema_arrow.names]
                number = 0
                for batch in table.iter_batches(columns=there):
                    for row in batch.to_pylist():
                        number += 1
                        yield f"row {number} of {file}", row
        except (pyarrow.ArrowException, OSError) as error:  # pyright: ignore
            raise PlanError(f"{file} cannot be read as Parquet: {error}") from error
