"""A LoRA's file, read for a MODEL: what it adds to each layer of the UNet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.lora_convert
import comfy.utils
import folder_paths
import torch

from ....demo import FOLDER as DEMO
from ....demo import LOOK_LORAS
from ....models.errors import CheckpointError
from ....models.instance_lora.delta import LowRankDelta

FOLDER = "loras"
_PREFIX, _SUFFIX = "diffusion_model.", ".weight"
# Beginnings of the names of a text encoder's layers, in the files of several trainers.
_TEXT = ("lora_te", "text_encoder", "clip_l.", "clip_g.", "te_", "te1_", "te2_")


@dataclass(frozen=True, eq=False)
class ReadLora:
    """Changes by the name of the UNet's module, and what of the file cannot act on an instance, in words."""

    deltas: Mapping[str, LowRankDelta]
    left_out: tuple[str, ...]


def list_loras() -> list[str]:
    """Names that the node offers: the files in models/loras, then those that come with the demo model."""
    return [*folder_paths.get_filename_list(FOLDER), *_shipped()]


def lora_path(name: str) -> str:
    """The path of an offered name; FileNotFoundError for a name that is none."""
    shipped = _shipped().get(name)
    return folder_paths.get_full_path_or_raise(FOLDER, name) if shipped is None else str(shipped)


def _shipped() -> dict[str, Path]:
    found = {name: DEMO / file for name, file in LOOK_LORAS.items()}
    return {name: path for name, path in found.items() if path.is_file()}


def read_lora(name: str, model: Any) -> ReadLora:
    """A file that the node offers, for this MODEL.

    `CheckpointError` for one without a layer that can act on an instance, or made for another architecture.
    """
    path = lora_path(name)
    state: dict[str, Any] = comfy.utils.load_torch_file(path, safe_load=True)
    own = {key: value for key, value in state.items() if not key.startswith(_TEXT)}
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    converted = comfy.lora_convert.convert_lora(own)
    loaded = comfy.lora.load_lora(converted, keys)
    unet = model.get_model_object("diffusion_model")
    deltas: dict[str, LowRankDelta] = {}
    left_out: Counter[str] = Counter()
    if len(own) < len(state):
        left_out[f"its text encoder part ({len(state) - len(own)} tensors)"] = 0
    if absent := sum(not _is_of_a_layer(tensor, keys) for tensor in converted):
        left_out[f"{absent} tensors of layers that this MODEL does not have"] = 0
    for key, patch in loaded.items():
        layer = key.removeprefix(_PREFIX).removesuffix(_SUFFIX) if isinstance(key, str) else ""
        try:
            delta = _delta(patch, unet, layer)
        except ValueError as error:
            raise CheckpointError(
                f"{name} was made for another architecture than this MODEL's "
                f"({type(model.model.model_config).__name__}): in the layer {layer} {error}. Choose a LoRA "
                "that was trained for this kind of MODEL"
            ) from error
        if isinstance(delta, LowRankDelta):
            deltas[layer] = delta
        else:
            left_out[delta] += 1
    words = tuple(f"{count} layers of {what}" if count else what for what, count in left_out.items())
    if not deltas:
        found = f" It has {', '.join(words)}." if words else ""
        raise CheckpointError(
            f"{name} has no layer of this MODEL that can act on one instance: a plain LoRA of the UNet is "
            f"needed.{found} Use Load LoRA, which changes the whole picture"
        )
    return ReadLora(deltas, words)


def _is_of_a_layer(tensor: str, keys: Mapping[str, Any]) -> bool:
    """Whether a tensor of a file is of one of these layers, which trainers name in several ways."""
    while "." in tensor:
        tensor = tensor.rpartition(".")[0]
        if tensor in keys or tensor.removesuffix("_lora") in keys:
            return True
    return False


def _delta(patch: Any, unet: Any, layer: str) -> LowRankDelta | str:
    """The change of one layer, or what it is instead."""
    if getattr(patch, "name", "") != "lora":
        return f"another kind ({getattr(patch, 'name', None) or patch[0]})"
    up, down, alpha, middle, direction, shape = patch.weights[:6]
    if not (middle is None and direction is None and shape is None):
        return "another kind (LoCon with a middle, DoRA)"
    module = unet.get_submodule(layer)
    if not acts_on_the_picture(layer, module):
        return "time and size embeddings, which belong to the whole picture"
    scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
    return LowRankDelta.of(up, down, scale, module.weight.shape)


def acts_on_the_picture(layer: str, module: Any) -> bool:
    """Whether a module of the UNet computes for each place of the picture, or reads the text."""
    return isinstance(module, torch.nn.Conv2d) or "transformer_blocks" in layer or ".proj_" in layer
