"""Choices of a model's layers in which the picture reads text, under names that fit SDXL's UNet.

Names and meanings alone, so that commands can list them without loading torch; each host finds the layers.
"""

from __future__ import annotations

# Each choice with what it takes in, for tooltips and help pages; the first is the default.
LAYER_PRESETS = {
    "middle and decoder": "the middle and the decoder, as CoMat was trained",
    "coarse": "of those the coarse ones, 1/32 of the picture's side",
    "fine": "of those the fine ones, 1/16 of the picture's side",
    "all": "the encoder too",
}

# What the same choices are where all layers have the picture at one size.
IN_TRANSFORMERS = (
    "Other models than UNets: all but the first third of the blocks, the middle third, the last third, all."
)


def check_preset(preset: str) -> None:
    """ValueError unless there is a choice of this name."""
    if preset not in LAYER_PRESETS:
        raise ValueError(f"layers is {preset!r}; allowed are {', '.join(LAYER_PRESETS)}")
