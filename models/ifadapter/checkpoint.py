"""Reading and writing IFAdapter files."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

GROUPS = ("text_proj_model", "adapter_modules", "pos_net")
TRUNCATED = "It may be truncated: compare its size with the source and download it again."

logger = logging.getLogger("instance_composer")


class CheckpointError(ValueError):
    """A file that is not what it should be, said in the user's words."""


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """All tensors of an IFAdapter file under flattened official names, in the file's dtype.

    `.safetensors` is read as such, anything else as a torch file of the three official groups with
    `weights_only=True`. A `module.` prefix (left by distributed training) is stripped.
    """
    path = Path(path)
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    tensors = {_strip_module(key): value for key, value in tensors.items()}
    absent = [group for group in GROUPS if not any(key.startswith(f"{group}.") for key in tensors)]
    if absent:
        found = sorted({key.split(".")[0] for key in tensors})
        raise CheckpointError(
            f"{path.name} is not an IFAdapter file: it has no weights under {', '.join(map(repr, absent))}; "
            f"it has {_listing(found)}. An IFAdapter file holds the groups {', '.join(GROUPS)}; "
            "the official one is called spd_adapter.bin."
        )
    return tensors


def write_checkpoint(state: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Write flattened official names as `.safetensors`, or as a torch `.bin` of the three official groups."""
    path = Path(path)
    state = {key: value.contiguous() for key, value in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path, metadata={"format": "pt"})
    elif path.suffix == ".bin":
        grouped = {
            group: {k.removeprefix(f"{group}."): v for k, v in state.items() if k.startswith(f"{group}.")}
            for group in GROUPS
        }
        torch.save(grouped, path)
    else:
        raise CheckpointError(f"cannot write {path.name}: an IFAdapter is written as .safetensors or .bin")


def check_keys(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The weights named in `shapes`; missing or misshapen ones are an error, unknown ones a warning."""
    missing = [key for key in shapes if key not in state]
    if missing:
        raise CheckpointError(
            f"this IFAdapter file is incomplete: {len(missing)} of {len(shapes)} weights are missing: "
            f"{_listing(missing)}"
        )
    wrong = [
        f"{key} is {tuple(state[key].shape)}, not {shape}"
        for key, shape in shapes.items()
        if tuple(state[key].shape) != shape
    ]
    if wrong:
        raise CheckpointError(f"weights of this IFAdapter file do not fit together: {_listing(wrong)}")
    unknown = [key for key in state if key not in shapes]
    if unknown:
        logger.warning(
            "IFAdapter file: %d weights are unknown and not used: %s", len(unknown), _listing(unknown)
        )
    return {key: state[key] for key in shapes}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path.name} cannot be read as a safetensors file ({error}). {TRUNCATED}"
        ) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} was refused: it holds objects other than tensors, and reading them could run code. "
            "Use the official spd_adapter.bin or a .safetensors file."
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read as a torch file ({error}). {TRUNCATED}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path.name} is not an IFAdapter file: it holds a {type(content).__name__}, not weights"
        )
    flat: dict[str, Tensor] = {}
    for group, weights in content.items():
        entries = weights.items() if isinstance(weights, Mapping) else [(None, weights)]
        flat |= {
            f"{group}.{key}" if key is not None else str(group): value
            for key, value in entries
            if isinstance(value, Tensor)
        }
    return flat


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _strip_module(key: str) -> str:
    group, _, rest = key.removeprefix("module.").partition(".")
    return f"{group}.{rest.removeprefix('module.')}" if rest else group


def _listing(names: list[str], most: int = 20) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "none"
