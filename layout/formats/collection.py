"""Many layouts at once: folders, patterns, JSON Lines and single files, each under a name of its own."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from .. import png
from ..instance import Canvas
from ..problems import LayoutError
from . import Reading, read_file, read_noted

# Of a folder these are read; a picture only if it carries a layout and no document of its name is there.
_DOCUMENT, _LINES, _PICTURE = ".json", ".jsonl", ".png"
# The beginning of the text with settings that `render` writes into a picture.
_MADE = b"iTXtinstance-composer\0"


class CollectionError(ValueError):
    """Files among which there is no layout, or two of one name."""


class Listed(NamedTuple):
    """Where a layout is: a file, or a line of one at a byte offset; `name`, without ending, may be a path."""

    name: str
    path: Path
    line: int | None = None
    start: int = 0

    def __str__(self) -> str:
        return str(self.path) if self.line is None else f"{self.path}, line {self.line}"

    def read(self, form: str | None = None, *, canvas: Canvas | None = None, **options: Any) -> Reading:
        """The layout, with how it was read; `LayoutError` for what cannot be read."""
        if self.line is None:
            return read_file(self.path, form, canvas=canvas, **options)
        with self.path.open("rb") as file:
            file.seek(self.start)
            return read_noted(file.readline(), form, canvas=canvas, **options)


def listed(
    sources: Sequence[str | os.PathLike[str]], apart: str | os.PathLike[str] | None = None
) -> list[Listed]:
    """The layouts of files, folders, patterns (`*`, `?`, `**`) and JSON Lines, in order.

    A folder is looked through with those below it, and names keep the way from it; lines are named by their
    file and number. `apart` is the folder that pictures of them go to: below a folder or pattern it is passed
    over, and in the folder itself pictures that `render` made of another layout there are.
    `CollectionError` where there is nothing, and where two have one name.
    """
    found = [one for source in sources for one in _of(os.fspath(source), apart)]
    names: dict[str, Listed] = {}
    for one in found:
        other = names.setdefault(one.name, one)
        if other is not one:
            raise CollectionError(
                f"{other} and {one} would both be called {one.name}; give one of them another name"
            )
    return found


def _of(source: str, apart: str | os.PathLike[str] | None) -> list[Listed]:
    path = Path(source)
    if path.is_dir():
        found = _outside(list(_in_folder(path)), path, apart)
        if not found:
            raise CollectionError(
                f"{path} holds no layouts; {_DOCUMENT}, {_LINES} and {_PICTURE} that carry one are read"
            )
        return found
    if path.exists():
        return list(_of_file(path, path.stem))
    if not glob.has_magic(source):
        raise CollectionError(f"there is no file or folder {source}")
    paths = sorted(Path(one) for one in glob.glob(source, recursive=True) if os.path.isfile(one))
    if not paths:
        raise CollectionError(f"no file fits the pattern {source}")
    fixed = takewhile(lambda part: not glob.has_magic(part), path.parts)
    found = [one for each in paths for one in _of_file(each, each.stem)]
    rest = _outside(found, Path(*fixed), apart)
    if found and not rest:
        raise CollectionError(f"no file fits the pattern {source} outside of {apart}, where pictures go")
    return rest


def _outside(found: list[Listed], folder: Path, apart: str | os.PathLike[str] | None) -> list[Listed]:
    """What stays of the layouts that were found in a folder, if their pictures go to `apart`."""
    if apart is None:
        return found
    root, place = folder.resolve(), Path(apart).resolve()
    if root == place:
        names = {one.name for one in found}
        documents = {one.name for one in found if one.path.suffix.lower() != _PICTURE}
        return [one for one in found if not _is_made(one, names, documents)]
    if not place.is_relative_to(root):
        return found
    below = folder / place.relative_to(root)
    return [one for one in found if not one.path.is_relative_to(below)]


def _is_made(one: Listed, names: Collection[str], documents: Collection[str]) -> bool:
    """Whether a picture is by `render`, of another layout: under its name, or one of several (-1, -2, …)."""
    if one.path.suffix.lower() != _PICTURE:
        return False
    name, _, number = one.name.rpartition("-")
    return (one.name in documents or (number.isdecimal() and name in names)) and (
        _MADE in one.path.read_bytes()
    )


def _in_folder(folder: Path) -> Iterator[Listed]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file, folder)]
    documents = {file.with_suffix("") for file in files if file.suffix.lower() == _DOCUMENT}
    for file in files:
        ending = file.suffix.lower()
        name = file.relative_to(folder).with_suffix("").as_posix()
        if ending in (_DOCUMENT, _LINES) or (
            ending == _PICTURE and file.with_suffix("") not in documents and _carries(file)
        ):
            yield from _of_file(file, name)


def _of_file(file: Path, name: str) -> Iterator[Listed]:
    if file.suffix.lower() != _LINES:
        yield Listed(name, file)
        return
    start = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield Listed(f"{name}-{number:06d}", file, number, start)
            start += len(line)


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _carries(picture: Path) -> bool:
    try:
        return bool(png.layout_text(picture.read_bytes()))
    except LayoutError:
        return False
