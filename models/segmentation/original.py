"""Grounding DINO from a file of the original code, as transformers' model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..weights import CheckpointError, listing, open_weights
from .grounding_dino import convert, infer_config, is_original, strip_prefixes

# Not among the original weights: the backbone's last norm, which is not used, and a table that is computed.
_LEFT_OUT = ("layernorm.", "relative_position_index")


def load_original(path: Path) -> Any:
    """A `GroundingDinoForObjectDetection` on the CPU; `CheckpointError` for other weights."""
    # A large import, needed by this alone.
    from transformers import BertConfig, GroundingDinoConfig, SwinConfig

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
    model, missing, unexpected = _build(GroundingDinoConfig(**sizes), convert(state))
    missing = [name for name in missing if not any(part in name for part in _LEFT_OUT)]
    if missing or unexpected:
        raise CheckpointError(
            f"{path.name} does not fit: {listing(sorted(missing))} missing, "
            f"{listing(sorted(unexpected))} without a place."
        )
    return model


def _build(config: Any, state: Mapping[str, Tensor]) -> tuple[Any, Sequence[str], Sequence[str]]:
    """The model with these weights, and the names that are missing and unexpected."""
    import transformers

    kind: Any = transformers.GroundingDinoForObjectDetection
    if int(transformers.__version__.partition(".")[0]) < 5:
        # The names are its own; `from_pretrained` would leave tables uncomputed that are not in the state.
        model = kind(config)
        return model, *model.load_state_dict(state, strict=False)
    model, report = kind.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    return model, report["missing_keys"], report["unexpected_keys"]
