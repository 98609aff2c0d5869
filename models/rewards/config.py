"""Sizes of a reward model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor

from ..weights import CheckpointError

# ImageReward's published constants; IterComp's models are normalised with them too.
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072
# Prompts are cut to this many tokens, start and end included, as in the training of the published models.
TOKENS = 35
_HEAD = re.compile(r"mlp\.layers\.(\d{1,4})\.weight")
# Width of an attention head in the published towers, which no file tells.
_HEAD_DIM = 64


@dataclass(frozen=True)
class RewardConfig:
    """Sizes of both towers and of the head, and the constants that bring raw rewards to a common scale.

    `head` lists the widths after each of its linear layers. `mean` and `std` are those of raw rewards.
    `dropout` is that of the text tower in training.
    """

    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_hidden: int
    vocabulary: int
    text_width: int
    text_layers: int
    text_heads: int
    text_hidden: int
    positions: int
    head: tuple[int, ...]
    mean: float = SCORE_MEAN
    std: float = SCORE_STD
    tokens: int = TOKENS
    dropout: float = 0.1

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)

    @classmethod
    def infer(cls, state: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> RewardConfig:
        """Read the sizes off published names; `metadata` holds what weights do not tell.

        Raises `CheckpointError` that names a weight or a key of the metadata which cannot be, and when the
        number of attention heads neither follows from the weights nor is in the metadata.
        """
        metadata = metadata or {}

        def size(key: str, axis: int) -> int:
            shape = tuple(state[key].shape) if key in state else ()
            if axis >= len(shape) or 0 in shape:
                found = f"has the shape {shape}" if key in state else "is missing"
                raise CheckpointError(f"this is no composition reward model: the weight {key!r} {found}")
            return shape[axis]

        vision, text = "blip.visual_encoder", "blip.text_encoder"
        patches = size(f"{vision}.pos_embed", 1) - 1
        patch = size(f"{vision}.patch_embed.proj.weight", 3)
        words = f"{text}.embeddings.word_embeddings.weight"
        head = sorted(int(match[1]) for key in state if (match := _HEAD.fullmatch(key)))
        found: dict[str, Any] = {
            "image_size": math.isqrt(patches) * patch,
            "patch_size": patch,
            "vision_width": size(f"{vision}.cls_token", 2),
            "vision_layers": _count(state, f"{vision}.blocks."),
            "vision_hidden": size(f"{vision}.blocks.0.mlp.fc1.weight", 0),
            "vocabulary": size(words, 0),
            "text_width": size(words, 1),
            "text_layers": _count(state, f"{text}.encoder.layer."),
            "text_hidden": size(f"{text}.encoder.layer.0.intermediate.dense.weight", 0),
            "positions": size(f"{text}.embeddings.position_embeddings.weight", 0),
            "head": tuple(size(f"mlp.layers.{number}.weight", 0) for number in head),
        }
        if patches < 1 or math.isqrt(patches) ** 2 != patches:
            raise CheckpointError(
                f"this is no composition reward model: it sees {patches} patches, no square"
            )
        _check_told(metadata, found)
        for tower in ("vision", "text"):
            width = found[f"{tower}_width"]
            if f"{tower}_heads" not in metadata and width % _HEAD_DIM:
                raise CheckpointError(
                    f"the {tower} tower of this reward model is {width} wide, which is no multiple of "
                    f"{_HEAD_DIM}, and the file does not tell its number of attention heads"
                )
        found["vision_heads"] = metadata.get("vision_heads", found["vision_width"] // _HEAD_DIM)
        found["text_heads"] = metadata.get("text_heads", found["text_width"] // _HEAD_DIM)
        told = {field.name for field in fields(cls)} - found.keys()
        return cls(**found, **{key: value for key, value in metadata.items() if key in told})


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _check_told(metadata: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` that names a key of the metadata which the weights do not bear out."""
    for key, size in found.items():
        told = metadata.get(key, size)
        if (tuple(told) if isinstance(told, list) else told) != size or isinstance(told, bool):
            raise _refused(key, told, f"the weights have {size}")
    for tower in ("vision", "text"):
        heads, width = metadata.get(f"{tower}_heads", 1), found[f"{tower}_width"]
        if not _is_whole(heads, 1, width) or width % heads:
            raise _refused(
                f"{tower}_heads", heads, f"a divisor of the {tower} tower's width, {width}, is needed"
            )
    tokens = metadata.get("tokens", TOKENS)
    # Two of them are the start and the end.
    if "tokens" in metadata and not _is_whole(tokens, 3, found["positions"]):
        raise _refused("tokens", tokens, f"a whole number from 3 to {found['positions']} is needed")
    for key, lowest, highest in (("mean", -1e6, 1e6), ("std", 1e-6, 1e6), ("dropout", 0, 0.99)):
        value = metadata.get(key, lowest)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value <= highest:
            raise _refused(key, value, f"a number from {lowest:g} to {highest:g} is needed")


def _is_whole(value: Any, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _refused(key: str, value: Any, needed: str) -> CheckpointError:
    many_digits = isinstance(value, int) and abs(value) >= 10**18
    shown = "a number of many digits" if many_digits else repr(value)[:40]
    return CheckpointError(f"the metadata of this reward model says {key}: {shown}; {needed}")
