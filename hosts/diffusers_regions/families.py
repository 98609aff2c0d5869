"""Transformers of diffusers: where their text is, and how a picture lies in the sequence.

Facts of diffusers 0.42. A family is told by the name of its class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# Rows and columns of the picture's tokens.
Grid = tuple[int, int]


@dataclass(frozen=True)
class Family:
    """One class: the picture's grid by the call's arguments, the argument with the numbers of text tokens, if
    any, and whether the text stands behind the picture.
    """

    grid: Callable[[Any, Mapping[str, Any]], Grid]
    numbers: str = ""
    behind: bool = False


def _flux(transformer: Any, given: Mapping[str, Any]) -> Grid:
    ids: Tensor = given["img_ids"]
    rows, columns = (int(ids.reshape(-1, ids.shape[-1])[:, axis].max()) + 1 for axis in (1, 2))
    return rows, columns


def _sd3(transformer: Any, given: Mapping[str, Any]) -> Grid:
    height, width = given["hidden_states"].shape[-2:]
    side = transformer.config.patch_size
    return height // side, width // side


FAMILIES: Mapping[str, Family] = {
    "FluxTransformer2DModel": Family(_flux, numbers="txt_ids"),
    "SD3Transformer2DModel": Family(_sd3, behind=True),
}
