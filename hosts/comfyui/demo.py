"""The demo model as ComfyUI's own MODEL, CLIP and VAE.

ComfyUI recognises a checkpoint by the sizes of the published models, so a smaller SDXL cannot come through
its checkpoint loaders: its classes are built here with the sizes of the folder's own configuration. Names of
weights are translated by ComfyUI.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sdxl_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor

from .adapter import Patcher

Weights = dict[str, Tensor]


class DemoPartError(ValueError):
    """A part of the folder does not hold the weights its configuration promises."""


def load_model(folder: str | PathLike[str], disable_dynamic: bool = False) -> Any:
    """The MODEL of a diffusers folder with a UNet of SDXL's shape, whatever its widths.

    `disable_dynamic` is ComfyUI's: weights are then never paged from disk. What is loaded remembers how
    to load itself again, which ComfyUI asks for in conditioning hooks and on several devices.
    """
    unet = json.loads((Path(folder) / "unet" / "config.json").read_text(encoding="utf-8"))
    config = unet_config(unet)

    class SmallSDXL(comfy.supported_models.SDXL):
        unet_config = config
        unet_extra_config = {"num_heads": -1, "num_head_channels": config["num_head_channels"]}  # noqa: RUF012

    settings = SmallSDXL(config)
    weights = _weights(folder, "unet", "diffusion_pytorch_model")
    names = comfy.utils.unet_to_diffusers(config)
    weights = {names.get(name, name): value for name, value in weights.items()}
    management = comfy.model_management
    device, kinds = management.get_torch_device(), settings.supported_inference_dtypes
    dtype = management.unet_dtype(
        model_params=sum(value.numel() for value in weights.values()),
        supported_dtypes=list(kinds),
        weight_dtype=comfy.utils.weight_dtype(weights),
    )
    settings.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, kinds))
    offload = management.unet_offload_device()
    # The state dict is only asked for its kind of prediction; noise is the default.
    model = settings.get_model({}, "", offload)
    patcher = (comfy.model_patcher.ModelPatcher if disable_dynamic else Patcher)(
        model, load_device=device, offload_device=offload
    )
    _check(model.diffusion_model.state_dict(), weights, "unet")
    # Versions that page weights keep the tensors they are given; older ones have no such argument.
    options = {"assign": True} if getattr(patcher, "is_dynamic", bool)() else {}
    model.load_model_weights(weights, "", **options)
    patcher.cached_patcher_init = (load_model, (folder,))
    return patcher


def unet_config(unet: Mapping[str, Any]) -> dict[str, Any]:
    """A diffusers UNet configuration of SDXL's shape in the words of ComfyUI's UNetModel."""
    widths, blocks = unet["block_out_channels"], unet["layers_per_block"]
    depths = [
        depth if "CrossAttn" in kind else 0
        for kind, depth in zip(unet["down_block_types"], unet["transformer_layers_per_block"], strict=True)
    ]
    return {
        "use_checkpoint": False,
        "image_size": 32,
        "in_channels": unet["in_channels"],
        "out_channels": unet["out_channels"],
        "model_channels": widths[0],
        "channel_mult": [width // widths[0] for width in widths],
        "num_res_blocks": [blocks] * len(widths),
        "transformer_depth": [depth for depth in depths for _ in range(blocks)],
        "transformer_depth_middle": depths[-1],
        "transformer_depth_output": [depth for depth in depths for _ in range(blocks + 1)],
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "context_dim": unet["cross_attention_dim"],
        # diffusers calls the number of heads attention_head_dim, as older checkpoints did.
        "num_head_channels": widths[-1] // unet["attention_head_dim"][-1],
        "num_classes": "sequential",
        "adm_in_channels": unet["projection_class_embeddings_input_dim"],
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }


def load_clip(folder: str | PathLike[str], **paging: bool) -> Any:
    """The CLIP of a diffusers folder: SDXL's two encoders and tokenizers, the encoders at their own sizes.

    `paging` may hold ComfyUI's own `disable_dynamic`, as `load_model` has it.
    """
    options: dict[str, Any] = {}
    weights: Weights = {}
    for key, part in (("l", "text_encoder"), ("g", "text_encoder_2")):
        config = json.loads((Path(folder) / part / "config.json").read_text(encoding="utf-8"))
        sizes = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
        options[f"clip_{key}_model_config"] = {name: config[name] for name in sizes}
        found = _weights(folder, part, "model")
        # ComfyUI's class has a projection in both encoders; nothing reads the first one's.
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
    return comfy.sd.VAE(sd=weights, config={"params": params})


def _weights(folder: str | PathLike[str], part: str, stem: str) -> Weights:
    return comfy.utils.load_torch_file(str(Path(folder) / part / f"{stem}.safetensors"), safe_load=True)


def _check(needed: Any, weights: Weights, part: str) -> None:
    """ComfyUI would leave what it is not given uninitialised."""
    absent = sorted(set(needed) - set(weights))
    if absent:
        raise DemoPartError(
            f"The weights of {part} do not fit their configuration: {len(absent)} are absent, the first is "
            f"{absent[0]}. The folder may have been written by another version or be damaged."
        )
