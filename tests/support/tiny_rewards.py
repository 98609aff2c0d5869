"""Reward models of a few thousand weights, as files a loader takes."""

from __future__ import annotations

from pathlib import Path

from golden_files import TRIMMED
from safetensors.torch import load_file
from torch import Tensor

from instance_composer.models.rewards import ASPECTS, RewardModel

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["a", "an", "and", "on", "red", "blue", "green", "small", "large", "circle", "square", "grey"],
]
HEADS = {"vision_heads": 4, "text_heads": 3}
_UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")


def tiny_state() -> dict[str, Tensor]:
    """The weights of the small reference model that are read."""
    golden = load_file(TRIMMED / "itercomp" / "reward_small.safetensors")
    weights = {k.removeprefix("weights/"): v for k, v in golden.items() if k.startswith("weights/")}
    return {key: value for key, value in weights.items() if not key.startswith(_UNUSED)}


def write_tiny_rewards(folder: Path) -> Path:
    """A folder with a model for each aspect, each with another head."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, aspect in enumerate(ASPECTS, 1):
        state = tiny_state()
        state["mlp.layers.7.weight"] = state["mlp.layers.7.weight"] * number
        told = {**HEADS, "words": WORDS, "aspect": aspect}
        RewardModel.from_state_dict(state, told).save(folder / f"{aspect}.safetensors")
    return folder
