"""Files of Grounding DINO's original code, and transformers' model made of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import sizes_read_from
from ...finite import require_finite
from ...weights import CheckpointError, listing, open_weights
from .conversion import (
    convert,
    infer_config,
    is_original,
    strip_prefixes,
)

# Weights of transformers that no original file has: the backbone's last norm, which nothing uses, and a
# table that is computed.
_LEFT_OUT = ("layernorm.", "relative_position_index")


def read_original(path: Path) -> dict[str, Tensor]:
    """Weights under the names of the original code, mapped; `CheckpointError` if they have other names."""
    weights = open_weights([path])
    state = {strip_prefixes(name): weights.read(name) for name in weights}
    if not is_original(state):
        raise CheckpointError(
            f"{path.name} is no Grounding DINO with the names of the original code. A .safetensors of the "
            "transformers library needs the folder it came in, config.json and vocabulary included."
        )
    require_finite(state, path.name)
    return state


def check_fit(path: Path, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raise `CheckpointError` that lists weights if there are any."""
    missing, unexpected = sorted(missing), sorted(unexpected)
    if missing or unexpected:
        raise CheckpointError(
            f"{path.name} does not fit: {listing(missing)} missing, {listing(unexpected)} without a place."
        )


def load_original(path: Path) -> Any:
    """A `GroundingDinoForObjectDetection` on the CPU; `CheckpointError` for other weights."""
    # transformers is slow to import, and nothing else here needs it.
    from transformers import BertConfig, GroundingDinoConfig, SwinConfig

    state = read_original(path)
    with sizes_read_from(path.name, "Grounding DINO"):
        sizes = infer_config(state)
    parts = {"backbone_config": SwinConfig, "text_config": BertConfig}
    for name, kind in parts.items():
        sizes[name] = kind(**{key: value for key, value in sizes[name].items() if key != "model_type"})
    model, missing, unexpected = _build(GroundingDinoConfig(**sizes), convert(state))
    check_fit(path, (name for name in missing if not any(part in name for part in _LEFT_OUT)), unexpected)
    return model


def _build(config: Any, state: Mapping[str, Tensor]) -> tuple[Any, Sequence[str], Sequence[str]]:
    """The model with these weights, and the names that are missing and unexpected."""
    import transformers

    kind: Any = transformers.GroundingDinoForObjectDetection
    if int(transformers.__version__.partition(".")[0]) < 5:
        # Version 4 has the converted names itself, and its `from_pretrained` would leave tables that are not
        # in the state without values.
        model = kind(config)
        return model, *model.load_state_dict(state, strict=False)
    model, report = kind.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    return model, report["missing_keys"], report["unexpected_keys"]
