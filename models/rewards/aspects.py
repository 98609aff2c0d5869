"""The three aspects of composition, and the files that judge them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..weights import CheckpointError

ASPECTS: tuple[str, ...] = ("attribute", "spatial", "non-spatial")
SUFFIXES = frozenset({".safetensors", ".pt", ".pth", ".bin", ".ckpt"})


def reward_files(folder: Path) -> dict[str, Path]:
    """The reward models in a folder by aspect, told by their names; an aspect without a file is left out.

    Raises `CheckpointError` when two files claim an aspect, or none is there.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        aspect = aspect_of_name(file.stem) if file.suffix in SUFFIXES else None
        if aspect in found:
            raise CheckpointError(f"{folder} has two files for {aspect}: {found[aspect].name}, {file.name}")
        if aspect is not None:
            found[aspect] = file
    if not found:
        raise CheckpointError(
            f"{folder} has no reward models: file names must contain {', '.join(ASPECTS)}, and end in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return found


def aspect_of_name(name: str) -> str | None:
    """The aspect a file's name speaks of."""
    plain = name.lower().replace("_", "").replace("-", "").replace(" ", "")
    if "nonspatial" in plain:
        return "non-spatial"
    return next((aspect for aspect in ("attribute", "spatial") if aspect in plain), None)


def combine(scores: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted mean (B,) of scores (B,) by aspect; the size of all weights together does not matter.

    A weight of 0 leaves an aspect out, even one that is no number.
    """
    used = {aspect: weights.get(aspect, 0.0) for aspect in scores if weights.get(aspect, 0.0)}
    if not used:
        raise ValueError("all weights are 0: give one of the loaded aspects another weight")
    total = sum(abs(weight) for weight in used.values())
    return torch.stack([scores[aspect] * weight / total for aspect, weight in used.items()]).sum(dim=0)


def rank(scores: Tensor) -> list[int]:
    """Positions from the best score (N,) down; equal ones keep their order, what is no number comes last."""
    # A stable sort keeps the order of equal scores.
    return torch.argsort(scores.nan_to_num(nan=-torch.inf), descending=True, stable=True).tolist()
