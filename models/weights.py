"""Weight files on disk, whole or in shards: headers at once, tensors when they are asked for."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import TRUNCATED, CheckpointError, listing
from .quantisation import METADATA, Quantisation, find_quantised, layers_told, restore
from .torch_files import check_tensor, flat_tensors, read_torch, refuse_folder
from .whole_files import whole_file

# Bytes of a file after which a reader closes and opens it anew: only closing gives mapped pages back.
MAPPED = 256 * 2**20

_SAFETENSORS = (".safetensors", ".sft")

# Places of a large tensor that its digest looks at, and the bytes of each.
_PLACES, _PLACE = 16, 4096

# The folders of each part of a diffusers model that its pictures depend on.
_DRAWING = {
    "UNet or transformer": ("unet", "transformer"),
    "VAE": ("vae",),
    "text encoders": ("text_encoder", "text_encoder_2", "text_encoder_3"),
}

__all__ = [
    "TRUNCATED",
    "CheckpointError",
    "Header",
    "Weights",
    "check_tensor",
    "digest_of_model",
    "digest_of_weights",
    "is_safetensors",
    "listing",
    "open_weights",
    "read_metadata",
    "read_tensors",
    "read_texts",
    "read_torch",
]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "BOOL": torch.bool,
}

logger = logging.getLogger("instance_composer")


@dataclass(frozen=True)
class Header:
    """Shape, dtype and place of a tensor, known before it is read; `name` is its name in `file`.

    A quantised weight has the dtype it is restored to, with how it is stored and the place of its scale.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path
    name: str
    quantisation: Quantisation | None = None
    scale: Header | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class Weights(Mapping[str, Header]):
    """Tensors by name in one or several files. Nothing but their headers is kept in memory.

    Quantised weights are among them as the numbers they stand for, without the tensors that tell how.
    """

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

    @property
    def quantised(self) -> list[str]:
        """The names of weights that are stored quantised."""
        return [name for name, header in self._headers.items() if header.quantisation is not None]

    def read(self, name: str) -> Tensor:
        """A tensor on the CPU in the file's dtype, float32 for a quantised one.

        It is mapped: copy what is to stay.
        """
        header = self._headers[name]
        value = self._stored(header)
        if header.quantisation is None or header.scale is None:
            return value
        return restore(value, self._stored(header.scale), header.quantisation)

    def _stored(self, header: Header) -> Tensor:
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
    """The tensors of files, safetensors as such and anything else as torch files of tensors alone.

    Raises `CheckpointError` for a file that is cut off, holds code, or is no weight file, and for one that is
    quantised in a way that is not read.
    """
    files = list(files)
    headers: dict[str, Header] = {}
    for file in files:
        headers |= _open(file).headers()
    return _restoring(files, headers)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, as `Weights.read` gives them; raises as `open_weights`."""
    weights = open_weights([path])
    return {name: weights.read(name) for name in weights}


def _restoring(files: list[Path], headers: dict[str, Header]) -> Weights:
    """Weights whose quantised ones are restored where they are read."""
    stored = Weights(headers)
    if not headers:
        return stored
    place = files[0].parent
    name = files[0].name if len(files) == 1 else f"{place.parent.name}/{place.name}"
    told: dict[str, Any] = {}
    for file in files:
        told |= layers_told(file.name, read_metadata(file, METADATA))
    found = find_quantised(name, headers, stored.read, told)
    if not found.companions and not found.weights:
        return stored
    _tell(files[0], f"{name}: {found.summary() or 'it is marked as quantised, and no weight is'}.")
    whole = {
        weight: replace(headers[weight], dtype=torch.float32, quantisation=how, scale=headers[how.scale])
        for weight, how in found.weights.items()
    }
    return Weights({key: one for key, one in (headers | whole).items() if key not in found.companions})


@lru_cache(maxsize=64)
def _tell(_file: Path, message: str) -> None:
    """Say a thing once about a file, however often it is opened."""
    logger.warning(message)


def read_texts(path: Path) -> dict[str, str]:
    """The texts that a safetensors file carries as metadata; empty for other files.

    Raises `CheckpointError` for a file that cannot be opened.
    """
    return dict(_open_safetensors(path).metadata() or {}) if is_safetensors(path) else {}


def save_weights(
    tensors: Mapping[str, Tensor], path: str | PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, whole or not at all, readable for whoever may read the folder.

    The library itself writes files for their owner alone, which nobody else on a shared machine can load.
    """
    with whole_file(Path(path)) as unfinished:
        save_file(dict(tensors), unfinished, None if metadata is None else dict(metadata))
        # Where a file system has no such rights there is nothing to give.
        with suppress(OSError):
            unfinished.chmod(unfinished.parent.stat().st_mode & 0o666)


def digest_of_weights(files: Iterable[Path]) -> str:
    """A digest of the tensors in some files, with their names; what else is in a file may change.

    Of a large tensor some places are looked at: an SDXL has gigabytes. Raises as `open_weights`.
    """
    digest = hashlib.sha256()
    for file in files:
        reader = _open(file)
        for name, header in sorted(reader.headers().items()):
            value = reader.get(name).detach().contiguous()
            digest.update(f"{name} {value.dtype} {list(header.shape)} ".encode())
            # As bytes, since not every kind of number has an equal in numpy.
            numbers = value.reshape(-1).view(torch.uint8).numpy()
            many = len(numbers) > _PLACES * _PLACE
            starts = [n * (len(numbers) - _PLACE) // (_PLACES - 1) for n in range(_PLACES)] if many else []
            for part in [numbers[start : start + _PLACE] for start in starts] or [numbers]:
                digest.update(part.tobytes())
    return digest.hexdigest()[:16]


def digest_of_model(model: Path) -> dict[str, str]:
    """Digests of the weights of a model, of a diffusers folder by part; none where there are no weights.

    They tell whether a model of the same name is still the same. Raises as `open_weights`.
    """
    if not model.is_dir():
        return {"model": digest_of_weights([model])}
    files = {
        part: [file for name in names for file in sorted((model / name).glob("*.safetensors"))]
        for part, names in _DRAWING.items()
    }
    if not any(files.values()):
        files = {"model": sorted(model.glob("*.safetensors")) or sorted(model.glob("pytorch_model*.bin"))}
    return {part: digest_of_weights(own) for part, own in files.items() if own}


def read_metadata(path: Path, key: str) -> dict[str, Any]:
    """The JSON object that a safetensors file carries under a key; empty for other files and without it.

    Raises `CheckpointError` for a file that cannot be opened, or carries something else there.
    """
    text = read_texts(path).get(key, "{}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} carries {text[:40]!r} as {key}, where a JSON object should be.")
    return content


class _Reader(Protocol):
    def headers(self) -> dict[str, Header]: ...

    def get(self, name: str) -> Tensor: ...


def _open(path: Path) -> _Reader:
    return _SafetensorsReader(path) if is_safetensors(path) else _TorchReader(path)


def is_safetensors(path: Path) -> bool:
    """By what the file begins with, else by its name: a download gets whatever name its page gives it."""
    named = path.suffix in _SAFETENSORS
    if not path.is_file():
        return named
    with path.open("rb") as file:
        start = file.read(9)
    # The length of a header in eight bytes, then the header, which is JSON.
    if start[8:] == b"{":
        return True
    # A torch file of today is a zip archive, an earlier one a pickle of protocol 2.
    return named and not start.startswith((b"PK\x03\x04", b"\x80\x02"))


def _open_safetensors(path: Path) -> Any:
    refuse_folder(path)
    try:
        return safe_open(path, "pt")
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
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
        self._path, self._tensors = path, flat_tensors(path, content)

    def headers(self) -> dict[str, Header]:
        return {
            name: Header(tuple(value.shape), value.dtype, self._path, name)
            for name, value in self._tensors.items()
        }

    def get(self, name: str) -> Tensor:
        return self._tensors[name]
