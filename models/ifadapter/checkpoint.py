"""Reading and writing IFAdapter files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ..weights import CheckpointError, listing, read_tensors, save_weights
from ..whole_files import whole_file

GROUPS = ("text_proj_model", "adapter_modules", "pos_net")

logger = logging.getLogger("instance_composer")


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """All tensors of an IFAdapter file under flattened official names, in the file's dtype.

    A safetensors file is read as such, anything else as a torch file of the three official groups with
    `weights_only=True`; what the file begins with tells, for a download may have either name. A `module.`
    prefix (left by distributed training) is stripped.
    """
    path = Path(path)
    tensors = {_strip_module(key): value for key, value in read_tensors(path).items()}
    absent = [group for group in GROUPS if not any(key.startswith(f"{group}.") for key in tensors)]
    if absent:
        found = sorted({key.split(".")[0] for key in tensors})
        raise CheckpointError(
            f"{path.name} is not an IFAdapter file: it has no weights under {', '.join(map(repr, absent))}; "
            f"it has {listing(found)}. An IFAdapter file holds the groups {', '.join(GROUPS)}; "
            "the official one is called spd_adapter.bin."
        )
    return tensors


def write_checkpoint(state: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Write flattened official names as `.safetensors`, or as a torch `.bin` of the three official groups.

    An earlier file may be the one that `state` is mapped from; it stays if writing fails.
    """
    path = Path(path)
    state = {key: value.contiguous() for key, value in state.items()}
    if path.suffix == ".safetensors":
        save_weights(state, path, metadata={"format": "pt"})
    elif path.suffix == ".bin":
        grouped = {
            group: {k.removeprefix(f"{group}."): v for k, v in state.items() if k.startswith(f"{group}.")}
            for group in GROUPS
        }
        # Into an open file, because torch would note the unfinished name inside.
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            torch.save(grouped, file)
    else:
        raise CheckpointError(f"cannot write {path.name}: an IFAdapter is written as .safetensors or .bin")


def check_keys(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The weights named in `shapes`; missing or misshapen ones are an error, unknown ones a warning."""
    missing = [key for key in shapes if key not in state]
    if missing:
        raise CheckpointError(
            f"this IFAdapter file is incomplete: {len(missing)} of {len(shapes)} weights are missing: "
            f"{listing(missing)}"
        )
    wrong = [
        f"{key} is {tuple(state[key].shape)}, not {shape}"
        for key, shape in shapes.items()
        if tuple(state[key].shape) != shape
    ]
    if wrong:
        raise CheckpointError(f"weights of this IFAdapter file do not fit together: {listing(wrong)}")
    unknown = [key for key in state if key not in shapes]
    if unknown:
        logger.warning(
            "IFAdapter file: %d weights are unknown and not used: %s", len(unknown), listing(unknown)
        )
    return {key: state[key] for key in shapes}


def _strip_module(key: str) -> str:
    group, _, rest = key.removeprefix("module.").partition(".")
    return f"{group}.{rest.removeprefix('module.')}" if rest else group
