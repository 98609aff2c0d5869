"""The text encoders and the autoencoder of a smaller SDXL as ComfyUI's own CLIP and VAE.

ComfyUI recognises a checkpoint by the sizes of the published models, so a smaller SDXL, as the demo model is
one, cannot come through its loaders: its classes are built here with the sizes of the folder's own
configuration. Names of weights are translated by ComfyUI.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import comfy.diffusers_convert
import comfy.sd
import comfy.sdxl_clip
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor

from ....models.weights import open_weights

Weights = dict[str, Tensor]


class DemoPartError(ValueError):
    """A part of the folder does not hold the weights its configuration promises."""


def load_clip(folder: str | PathLike[str], **paging: bool) -> Any:
    """The CLIP of a diffusers folder: SDXL's two encoders and tokenizers, the encoders at their own sizes.

    `paging` may hold ComfyUI's own `disable_dynamic`: weights are then never paged from disk. What is loaded
    remembers how to load itself again, which ComfyUI asks for in conditioning hooks and on several devices.
    """
    options: dict[str, Any] = {}
    weights: Weights = {}
    for key, part in (("l", "text_encoder"), ("g", "text_encoder_2")):
        config = json.loads((Path(folder) / part / "config.json").read_text(encoding="utf-8"))
        sizes = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
        options[f"clip_{key}_model_config"] = {name: config[name] for name in sizes}
        found = _weights(folder, part, "model")
        # ComfyUI's class has a projection in both encoders, though nothing reads that of the first one.
        found.setdefault("text_projection.weight", torch.eye(config["hidden_size"]))
        weights |= {f"clip_{key}.transformer.{name}": value for name, value in found.items()}
    target = comfy.supported_models_base.ClipTarget(
        comfy.sdxl_clip.SDXLTokenizer, comfy.sdxl_clip.SDXLClipModel
    )
    parameters = sum(value.numel() for value in weights.values())
    clip = comfy.sd.CLIP(target, model_options=options, parameters=parameters, **paging)
    needed = (name for name in clip.cond_stage_model.state_dict() if not name.endswith("logit_scale"))
    _check(needed, weights, "text_encoder, text_encoder_2")
    clip.load_sd(weights, full_model=True)
    clip.patcher.cached_patcher_init = (_clip_patcher, (folder,))
    return clip


def _clip_patcher(folder: str | PathLike[str], **paging: bool) -> Any:
    return load_clip(folder, **paging).patcher


def load_vae(folder: str | PathLike[str]) -> Any:
    """The VAE of a diffusers folder: an autoencoder of any width with SDXL's four levels."""
    config = json.loads((Path(folder) / "vae" / "config.json").read_text(encoding="utf-8"))
    widths = config["block_out_channels"]
    sizes = {
        "double_z": True,
        "z_channels": config["latent_channels"],
        "resolution": 256,
        "in_channels": config["in_channels"],
        "out_ch": config["out_channels"],
        "ch": widths[0],
        "ch_mult": [width // widths[0] for width in widths],
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    params = {"ddconfig": sizes, "embed_dim": config["latent_channels"]}
    weights = _weights(folder, "vae", "diffusion_pytorch_model")
    vae = comfy.sd.VAE(sd=weights, config={"params": params})
    # ComfyUI renames diffusers' names, and logs what it does not find.
    given = comfy.diffusers_convert.convert_vae_state_dict(dict(weights))
    _check(
        (
            name
            for name, value in vae.first_stage_model.state_dict().items()
            if name not in given or given[name].numel() != value.numel()
        ),
        {},
        "vae",
    )
    return vae


def _weights(folder: str | PathLike[str], part: str, stem: str) -> Weights:
    file = Path(folder) / part / f"{stem}.safetensors"
    open_weights([file])  # what is cut off or no weight file is said in words
    return comfy.utils.load_torch_file(str(file), safe_load=True)


def _check(needed: Any, weights: Weights, part: str) -> None:
    """ComfyUI would leave what it is not given uninitialised."""
    absent = sorted(set(needed) - set(weights))
    if absent:
        raise DemoPartError(
            f"The weights of {part} do not fit their configuration: {len(absent)} are absent, the first is "
            f"{absent[0]}. The folder may have been written by another version or be damaged."
        )
