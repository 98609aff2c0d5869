"""Quantised parts of a pipeline: restored here, since diffusers would take the weights as they lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.utils import logging

from ...models.weights import CheckpointError, Weights, listing, open_weights
from .errors import UnsuitableModelError

_CLASSES: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
_PARTS = (*_CLASSES, "text_encoder", "text_encoder_2")
# Prefixes of a single file.
_PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}


def parts_of_file(
    name: str, weights: Weights, dtype: dict[str, torch.dtype], options: dict[str, Any]
) -> dict[str, torch.nn.Module]:
    """UNet and VAE of a single file where their weights are quantised.

    `dtype`, by the name that diffusers calls it, and `options` go to `from_single_file`. Raises
    `UnsuitableModelError` where other weights are quantised.
    """
    quantised = weights.quantised
    wanted = [part for part, start in _PREFIXES.items() if any(key.startswith(start) for key in quantised)]
    others = [key for key in quantised if not key.startswith(tuple(_PREFIXES.values()))]
    _refuse_others(name, others)
    if not wanted:
        return {}
    inside, (kind,) = tuple(_PREFIXES[part] for part in wanted), dtype.values()
    # One by one, so that memory holds one weight in full precision.
    state = {
        key: weights.read(key).to(kind) if key.startswith(inside) else weights.read(key) for key in weights
    }
    verbosity = logging.get_verbosity()
    # diffusers warns of modules to be kept in fp32, of which these have none.
    logging.set_verbosity_error()
    try:
        return {
            part: _CLASSES[part].from_single_file(dict(state), subfolder=part, **dtype, **options)
            for part in wanted
        }
    finally:
        logging.set_verbosity(verbosity)


def parts_of_folder(folder: Path, dtype: torch.dtype) -> dict[str, torch.nn.Module]:
    """UNet and VAE of a diffusers folder where their weights are quantised.

    A folder that says so in its config.json (`quantization_config`) is left to diffusers. Raises
    `UnsuitableModelError` for text encoders, `CheckpointError` for formats that are not read.
    """
    made: dict[str, torch.nn.Module] = {}
    for part in _PARTS:
        files = sorted((folder / part).glob("*.safetensors"))
        if not files or _is_librarys_own(folder / part):
            continue
        weights = open_weights(files)
        if not weights.quantised:
            continue
        if part not in _CLASSES:
            _refuse_others(f"{folder.name}/{part}", weights.quantised)
        kind = _CLASSES[part]
        with torch.device("meta"):
            model = kind.from_config(kind.load_config(str(folder), subfolder=part))
        state = {key: weights.read(key).to(dtype, copy=True) for key in weights}
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
        if missing or unexpected:
            raise CheckpointError(
                f"{folder.name}/{part} does not fit its config.json: {listing(missing, most=3)} missing, "
                f"{listing(unexpected, most=3)} without a place."
            )
        made[part] = model.eval()
    return made


def _is_librarys_own(folder: Path) -> bool:
    try:
        return "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _refuse_others(name: str, keys: list[str]) -> None:
    if keys:
        raise UnsuitableModelError(
            f"{name} has quantised weights beside UNet and VAE, which are not read here: "
            f"{listing(keys, most=3)}. Take the model with text encoders in 16 bits"
        )
