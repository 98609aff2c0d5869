"""Grounding DINO from a file of the original code, as transformers' model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..weights import CheckpointError, listing, open_weights
from .grounding_dino import convert, infer_config, is_original, strip_prefixes

# Not among the original weights, and not used: the backbone's last norm.
UNUSED = "layernorm."


def load_original(path: Path) -> Any:
    """A `GroundingDinoForObjectDetection` on the CPU; `CheckpointError` for other weights."""
    # A large import, needed by this alone.
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    weights = open_weights([path])
    state = {strip_prefixes(name): weights.read(name) for name in weights}
    if not is_original(state):
        raise CheckpointError(
            f"{path.name} is no Grounding DINO with the names of the original code. A .safetensors of the "
            "transformers library needs the folder it came in, config.json and vocabulary included."
        )
    sizes = infer_config(state)
    parts = {"backbone_config": SwinConfig, "text_config": BertConfig}
    for name, kind in parts.items():
        sizes[name] = kind(**{key: value for key, value in sizes[name].items() if key != "model_type"})
    loaded: Any = GroundingDinoForObjectDetection.from_pretrained(
        None, config=GroundingDinoConfig(**sizes), state_dict=convert(state), output_loading_info=True
    )
    model, report = loaded
    missing = [name for name in report["missing_keys"] if UNUSED not in name]
    if missing or report["unexpected_keys"]:
        raise CheckpointError(
            f"{path.name} does not fit: {listing(sorted(missing))} missing, "
            f"{listing(sorted(report['unexpected_keys']))} without a place."
        )
    return model
