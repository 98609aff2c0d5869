"""Sizes of a reward model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor

from ..weights import CheckpointError

# ImageReward's published constants; IterComp's models are normalised with them too.
SCORE_MEAN, SCORE_STD = 0.16717362830052426, 1.0333394966054072
# Prompts are cut to this many tokens, start and end included, as in the training of the published models.
TOKENS = 35
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
        """Read the sizes off published names; `metadata` holds what weights do not tell, or overrides it.

        Raises `CheckpointError` when the number of attention heads neither follows from the weights nor is in
        the metadata.
        """
        metadata = metadata or {}
        vision, text = "blip.visual_encoder", "blip.text_encoder"
        patches = state[f"{vision}.pos_embed"].shape[1] - 1
        patch = state[f"{vision}.patch_embed.proj.weight"].shape[-1]
        vocabulary, text_width = state[f"{text}.embeddings.word_embeddings.weight"].shape
        head = sorted(int(key.split(".")[2]) for key in state if _is_head(key))
        found: dict[str, Any] = {
            "image_size": math.isqrt(patches) * patch,
            "patch_size": patch,
            "vision_width": state[f"{vision}.cls_token"].shape[-1],
            "vision_layers": _count(state, f"{vision}.blocks."),
            "vision_hidden": state[f"{vision}.blocks.0.mlp.fc1.weight"].shape[0],
            "vocabulary": vocabulary,
            "text_width": text_width,
            "text_layers": _count(state, f"{text}.encoder.layer."),
            "text_hidden": state[f"{text}.encoder.layer.0.intermediate.dense.weight"].shape[0],
            "positions": state[f"{text}.embeddings.position_embeddings.weight"].shape[0],
            "head": tuple(state[f"mlp.layers.{number}.weight"].shape[0] for number in head),
        }
        for tower in ("vision", "text"):
            width = found[f"{tower}_width"]
            if f"{tower}_heads" not in metadata and width % _HEAD_DIM:
                raise CheckpointError(
                    f"the {tower} tower of this reward model is {width} wide, which is no multiple of "
                    f"{_HEAD_DIM}, and the file does not tell its number of attention heads"
                )
            found[f"{tower}_heads"] = width // _HEAD_DIM
        known = {field.name for field in fields(cls)}
        return cls(**{**found, **{key: _value(value) for key, value in metadata.items() if key in known}})


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _is_head(key: str) -> bool:
    return key.startswith("mlp.layers.") and key.endswith(".weight")


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
