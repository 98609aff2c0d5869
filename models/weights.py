"""Weight files on disk, whole or in shards: headers at once, tensors when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

TRUNCATED = "It may be truncated: compare its size with the source and download it again."

# Bytes of a file after which a reader closes and opens it anew: only closing gives mapped pages back.
MAPPED = 256 * 2**20

_SAFETENSORS = (".safetensors", ".sft")

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


class CheckpointError(ValueError):
    """A file that is not what it should be, said in the user's words."""


@dataclass(frozen=True)
class Header:
    """Shape, dtype and place of a tensor, known before it is read; `name` is its name in `file`."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path
    name: str

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class Weights(Mapping[str, Header]):
    """Tensors by name in one or several files. Nothing but their headers is kept in memory."""

    def __init__(self, headers: Mapping[str, Header]) -> None:
        self._headers = dict(headers)
        self._readers: dict[Path, _Reader] = {}

    def __getitem__(self, name: str) -> Header:
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: header.shape for name, header in self._headers.items()}

    def renamed(self, rename: Callable[[str], str | None]) -> Weights:
        """The same tensors under other names, without those `rename` answers None for."""
        pairs = ((rename(name), header) for name, header in self._headers.items())
        return Weights({name: header for name, header in pairs if name is not None})

    def read(self, name: str) -> Tensor:
        """A tensor on the CPU in the file's dtype. It is mapped: copy what is to stay."""
        header = self._headers[name]
        if header.file not in self._readers:
            self._readers[header.file] = _open(header.file)
        return self._readers[header.file].get(header.name)

    def stream(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors, file after file, as `read` gives them; a file that is done is let go."""
        for file in dict.fromkeys(header.file for header in self._headers.values()):
            for name, header in self._headers.items():
                if header.file == file:
                    yield name, self.read(name)
            self._readers.pop(file, None)


def open_weights(files: Iterable[Path]) -> Weights:
    """The tensors of files, `.safetensors` as such and anything else as torch files with `weights_only`.

    Raises `CheckpointError` for a file that is cut off, holds code, or is no weight file.
    """
    headers: dict[str, Header] = {}
    for file in files:
        headers |= _open(file).headers()
    return Weights(headers)


def read_metadata(path: Path, key: str) -> dict[str, Any]:
    """The JSON object that a `.safetensors` file carries under a key; empty for other files and without it.

    Raises `CheckpointError` for a file that cannot be opened, or carries something else there.
    """
    if path.suffix not in _SAFETENSORS:
        return {}
    text = (_open_safetensors(path).metadata() or {}).get(key, "{}")
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} carries {text[:40]!r} as {key}, where a JSON object should be.")
    return content


def read_torch(path: Path) -> Any:
    """The content of a torch file, tensors and plain containers alone, mapped where its format allows.

    Raises `CheckpointError` if it is no torch file, is cut off, or holds objects other than those.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read as a torch file ({error}). {TRUNCATED}") from error
    except Exception as error:
        # By its name: a file that imports pickle, were it for this alone, is taken for one that unpickles.
        if type(error).__name__ != "UnpicklingError":
            raise
        raise CheckpointError(
            f"{path.name} was refused: it is no torch file, or it holds objects other than tensors, and "
            "reading them could run code. Use the file its authors published, or a .safetensors file."
        ) from error


def listing(names: Iterable[str], most: int = 20) -> str:
    """Names in one line, the first of many."""
    names = list(names)
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "none"


class _Reader(Protocol):
    def headers(self) -> dict[str, Header]: ...

    def get(self, name: str) -> Tensor: ...


def _open(path: Path) -> _Reader:
    return _SafetensorsReader(path) if path.suffix in _SAFETENSORS else _TorchReader(path)


def _open_safetensors(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except SafetensorError as error:
        with path.open("rb") as file:
            start = file.read(7)
        if start in (b"version", b"<!DOCTY", b"<html><"):
            raise CheckpointError(
                f"{path.name} is a text file that stands for the weights (a Git LFS pointer or a web "
                "page), not the weights. Download the file itself."
            ) from error
        raise CheckpointError(
            f"{path.name} cannot be read as a safetensors file ({error}). {TRUNCATED}"
        ) from error


class _SafetensorsReader:
    def __init__(self, path: Path) -> None:
        self._path, self._file, self._mapped = path, _open_safetensors(path), 0

    def headers(self) -> dict[str, Header]:
        slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118
        return {
            name: Header(tuple(one.get_shape()), _DTYPES.get(one.get_dtype(), torch.uint8), self._path, name)
            for name, one in slices.items()
        }

    def get(self, name: str) -> Tensor:
        if self._mapped > MAPPED:
            self._file, self._mapped = _open_safetensors(self._path), 0
        tensor = self._file.get_tensor(name)
        self._mapped += tensor.nbytes
        return tensor


class _TorchReader:
    def __init__(self, path: Path) -> None:
        content = read_torch(path)
        if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
            content = content["state_dict"]
        if not isinstance(content, Mapping):
            raise CheckpointError(f"{path.name} holds a {type(content).__name__}, not named weights.")
        self._path, self._tensors = path, dict(_flat(content))

    def headers(self) -> dict[str, Header]:
        return {
            name: Header(tuple(value.shape), value.dtype, self._path, name)
            for name, value in self._tensors.items()
        }

    def get(self, name: str) -> Tensor:
        return self._tensors[name]


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors of nested mappings, names joined by dots."""
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
