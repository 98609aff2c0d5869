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
    """One class.

    `grid`: the picture's grid by the call's arguments, None where there are several pictures. `numbers`: the
    argument with the places of text tokens, all 0. `mask`: the argument that may hide a part of the text.
    `embedder`: the module that turns pictures and numbered text into angles, the text's being the second.
    `behind`: the text is behind the picture.
    """

    grid: Callable[[Any, Mapping[str, Any]], Grid | None]
    numbers: str = ""
    mask: str = ""
    embedder: str = ""
    behind: bool = False


def _flux(transformer: Any, given: Mapping[str, Any]) -> Grid:
    ids: Tensor = given["img_ids"]
    rows, columns = (int(ids.reshape(-1, ids.shape[-1])[:, axis].max()) + 1 for axis in (1, 2))
    return rows, columns


def _sd3(transformer: Any, given: Mapping[str, Any]) -> Grid:
    height, width = given["hidden_states"].shape[-2:]
    side = transformer.config.patch_size
    return height // side, width // side


def _qwen(transformer: Any, given: Mapping[str, Any]) -> Grid | None:
    shapes = given["img_shapes"][0]
    # One picture is a triple, or a list of one.
    pictures = [shapes] if isinstance(shapes[0], int) else shapes
    ((frames, rows, columns), *others) = pictures
    return None if others or frames > 1 else (rows, columns)


FAMILIES: Mapping[str, Family] = {
    "FluxTransformer2DModel": Family(_flux, numbers="txt_ids"),
    "QwenImageTransformer2DModel": Family(_qwen, mask="encoder_hidden_states_mask", embedder="pos_embed"),
    "SD3Transformer2DModel": Family(_sd3, behind=True),
}
