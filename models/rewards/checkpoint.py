"""Files of reward models: the published names of weights, ours, and the metadata of our own files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from ..quantisation import restored_tensors
from ..weights import (
    CheckpointError,
    check_tensor,
    is_safetensors,
    listing,
    open_weights,
    read_metadata,
    read_torch,
    save_weights,
)

_PARTS = ("blip.visual_encoder.", "blip.text_encoder.", "mlp.layers.")
# Keys under which trainers save the weights, beside the step, the optimizer and the like.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "reward_model")
# Weights of the published files that nothing reads: projections of contrastive pretraining, and a buffer.
_UNUSED = re.compile(r"blip\.(vision_proj|text_proj)\.|.*\.position_ids$")
METADATA = "instance_composer.reward"
# Dictionaries around the weights; a dictionary may also hold itself.
_DEEPEST = 8

# Published names and ours, which are those of transformers' BLIP below `vision` and `text`; * is a number.
_NAMES = (
    ("blip.visual_encoder.cls_token", "vision.embeddings.class_embedding"),
    ("blip.visual_encoder.pos_embed", "vision.embeddings.position_embedding"),
    ("blip.visual_encoder.patch_embed.proj.", "vision.embeddings.patch_embedding."),
    ("blip.visual_encoder.norm.", "vision.post_layernorm."),
    ("blip.visual_encoder.blocks.*.norm1.", "vision.encoder.layers.*.layer_norm1."),
    ("blip.visual_encoder.blocks.*.norm2.", "vision.encoder.layers.*.layer_norm2."),
    ("blip.visual_encoder.blocks.*.attn.qkv.", "vision.encoder.layers.*.self_attn.qkv."),
    ("blip.visual_encoder.blocks.*.attn.proj.", "vision.encoder.layers.*.self_attn.projection."),
    ("blip.visual_encoder.blocks.*.mlp.", "vision.encoder.layers.*.mlp."),
    ("blip.text_encoder.", "text."),
    ("mlp.layers.", "head."),
)


def read_reward(path: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of a reward model under their published names, and the metadata of the file.

    A safetensors file is read as such, anything else as a torch file of tensors alone. A trainer's
    wrapping dictionary and the prefix `module.` are taken off. Raises `CheckpointError`.
    """
    path = Path(path)
    if is_safetensors(path):
        weights = open_weights([path])
        state = {name: weights.read(name) for name in weights}
    else:
        state = _unwrap(path, read_torch(path))
        for key, value in state.items():
            check_tensor(path, key, value)
        state = restored_tensors(path.name, state)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    absent = [part for part in _PARTS if not any(key.startswith(part) for key in state)]
    if absent:
        found = sorted({".".join(key.split(".")[:2]) for key in state})
        raise CheckpointError(
            f"{path.name} is not a composition reward model: it has no weights under "
            f"{', '.join(map(repr, absent))}; it has {listing(found)}."
        )
    used = {key: value for key, value in state.items() if not unused(key)}
    return used, read_metadata(path, METADATA)


def write_reward(state: Mapping[str, Tensor], path: str | PathLike[str], metadata: Mapping[str, Any]) -> None:
    """Write weights under their published names, and metadata that they do not tell, as `.safetensors`."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"cannot write {path.name}: a reward model is written as .safetensors")
    tensors = {key: value.contiguous() for key, value in state.items()}
    save_weights(tensors, path, metadata={"format": "pt", METADATA: json.dumps(metadata)})


def unused(key: str) -> bool:
    """Whether a weight of this published name is in the files and read by nothing."""
    return _UNUSED.match(key) is not None


def to_ours(key: str) -> str:
    """Our name of a published weight."""
    return _renamed(key, _NAMES)


def to_published(key: str) -> str:
    """The published name of one of our weights."""
    return _renamed(key, tuple((ours, published) for published, ours in _NAMES))


def _renamed(key: str, names: tuple[tuple[str, str], ...]) -> str:
    for old, new in names:
        pattern = "^" + re.escape(old).replace(r"\*", r"(\d+)")
        renamed, count = re.subn(pattern, new.replace("*", r"\1"), key)
        if count:
            return renamed
    return key


def check_weights(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The weights by our names; missing, misshapen or unknown ones raise `CheckpointError` by published name.

    `shapes` maps our names to shapes.
    """
    renamed = {to_ours(key): (key, value) for key, value in state.items()}
    wrong = [f"{ours} is missing" for ours in shapes if ours not in renamed]
    wrong += [f"{key} is not known" for ours, (key, _) in renamed.items() if ours not in shapes]
    wrong += [
        f"{key} is {tuple(value.shape)}, not {shapes[ours]}"
        for ours, (key, value) in renamed.items()
        if ours in shapes and tuple(value.shape) != shapes[ours]
    ]
    if wrong:
        raise CheckpointError(f"this reward model is not whole: {listing(wrong, 10)}")
    return {ours: value for ours, (_, value) in renamed.items()}


def _unwrap(path: Path, content: Any) -> dict[str, Tensor]:
    """The weights out of what a trainer saved around them."""
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if any(key.removeprefix("module.").startswith(_PARTS) for key in tensors):
            return tensors
        inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inner:
            return tensors
        content = inner[0]
    raise CheckpointError(
        f"{path.name} is not a composition reward model: it holds a {type(content).__name__}, not weights"
    )
