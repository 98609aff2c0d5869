"""torch files: tensors in dictionaries, read without running what else a pickle may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import TRUNCATED, CheckpointError

# Bytes up to which a tensor may be a repetition of fewer numbers, as tables of positions are.
EXPANDED = 2**20


def read_torch(path: Path) -> Any:
    """The content of a torch file, tensors and plain containers alone, mapped where its format allows.

    Raises `CheckpointError` if it is no torch file, is cut off, or holds objects other than those.
    """
    refuse_folder(path)
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"GGUF":
        raise CheckpointError(
            f"{path.name} is a GGUF file, which is quantised in a way that is not read here. Take the model "
            "as .safetensors in 16 bits or in scaled fp8; in ComfyUI a pack for GGUF loads it."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=start[:2] == b"PK")
    except Exception as error:
        # By its name: a file that imports pickle, were it for this alone, is taken for one that unpickles.
        if type(error).__name__ == "UnpicklingError":
            raise CheckpointError(
                f"{path.name} was refused: it is no torch file, or it holds objects other than tensors, and "
                "reading them could run code. Use the file its authors published, or a .safetensors file."
            ) from error
        # A damaged file can raise anything: torch's reader trusts what it finds.
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, RuntimeError) else error
        raise CheckpointError(
            f"{path.name} cannot be read as a torch file ({reason}). {TRUNCATED}"
        ) from error


def refuse_folder(path: Path) -> None:
    """Raise `CheckpointError` for a folder where a file should be."""
    if path.is_dir():
        raise CheckpointError(f"{path.name} is a folder, where a file with weights is needed.")


def flat_tensors(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors of nested mappings, names joined by dots.

    Raises `CheckpointError` for a mapping that is in several places or in itself, and for tensors that hold
    other numbers than they take room for.
    """
    seen: set[int] = set()

    def walk(content: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Tensor]]:
        if content and id(content) in seen:
            raise CheckpointError(
                f"{path.name} holds the same dictionary in several places, the last under {prefix[:80]!r}; "
                "it is no file of weights, or it is damaged."
            )
        seen.add(id(content))
        for name, value in content.items():
            if isinstance(value, Tensor):
                check_tensor(path, f"{prefix}{name}", value)
                yield f"{prefix}{name}", value
            elif isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{name}.")

    try:
        return dict(walk(content, ""))
    except RecursionError as error:
        raise CheckpointError(
            f"{path.name} holds dictionaries in dictionaries hundreds of levels deep; it is no file of "
            "weights."
        ) from error


def check_tensor(path: Path, name: str, value: Tensor) -> None:
    """Raise `CheckpointError` for a tensor that is not as many plain numbers as it takes room for."""
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        kind = (
            "torch's own quantised type"
            if value.is_quantized
            else f"a tensor {value.layout} on {value.device}"
        )
        raise CheckpointError(f"{path.name} holds {name[:80]} as {kind}, which is not read here.")
    # A view of one number can claim any size, and would take it as soon as it is copied.
    if value.nbytes > max(value.untyped_storage().nbytes(), EXPANDED):
        raise CheckpointError(
            f"{path.name} holds {name[:80]} {tuple(value.shape)} as fewer numbers that are repeated; it is "
            "no file of weights, or it is damaged."
        )
