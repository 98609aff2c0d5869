"""The text encoders and the autoencoder of a smaller SDXL as ComfyUI's own CLIP and VAE.

ComfyUI recognises a checkpoint by the sizes of the published models, so a smaller SDXL, as the demo model is
one, cannot come through its loaders: its classes are built here with the sizes of the folder's own
configuration. Names of weights are translated by ComfyUI.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import comfy.diffusers_convert
import comfy.sd
import comfy.sdxl_clip
import comfy.supported_models_base
import torch
from torch import Tensor

from ....models.errors import sizes_read_from
from ....models.weights import CheckpointError, read_tensors

Weights = dict[str, Tensor]

# A weight by whose name ComfyUI knows an autoencoder of diffusers.
_DIFFUSERS_VAE = "decoder.up_blocks.0.resnets.0.norm1.weight"


class DemoPartError(CheckpointError):
    """A part of the folder does not hold the weights its configuration promises."""


def load_clip(
    folder: str | PathLike[str], encoders: type[Any] = comfy.sdxl_clip.SDXLClipModel, **paging: bool
) -> Any:
    """The CLIP of a diffusers folder: SDXL's two encoders and tokenizers, the encoders at their own sizes.

    `encoders` may be another class of both. `paging` may hold ComfyUI's own `disable_dynamic`: weights are
    then never paged from disk. What is loaded remembers how to load itself again, which ComfyUI asks for in
    conditioning hooks and on several devices.
    """
    options: dict[str, Any] = {}
    weights: Weights = {}
    for key, part in (("l", "text_encoder"), ("g", "text_encoder_2")):
        sizes = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
        with sizes_read_from(f"{part}/config.json", "a text encoder"):
            config = json.loads((Path(folder) / part / "config.json").read_text(encoding="utf-8"))
            options[f"clip_{key}_model_config"] = {name: int(config[name]) for name in sizes}
        found = _weights(folder, part, "model")
        # ComfyUI's class has a projection in both encoders, though nothing reads that of the first one.
        found.setdefault("text_projection.weight", torch.eye(config["hidden_size"]))
        weights |= {f"clip_{key}.transformer.{name}": value for name, value in found.items()}
    target = comfy.supported_models_base.ClipTarget(comfy.sdxl_clip.SDXLTokenizer, encoders)
    parameters = sum(value.numel() for value in weights.values())
    clip = comfy.sd.CLIP(target, model_options=options, parameters=parameters, **paging)
    needed = (name for name in clip.cond_stage_model.state_dict() if not name.endswith("logit_scale"))
    _check(needed, weights, "text_encoder, text_encoder_2")
    with _named_misfit("text_encoder, text_encoder_2"):
        clip.load_sd(weights, full_model=True)
    clip.patcher.cached_patcher_init = (_clip_patcher, (folder, encoders))
    return clip


def _clip_patcher(folder: str | PathLike[str], encoders: type[Any], **paging: bool) -> Any:
    return load_clip(folder, encoders, **paging).patcher


def load_vae(folder: str | PathLike[str]) -> Any:
    """The VAE of a diffusers folder: an autoencoder of any width with SDXL's four levels."""
    with sizes_read_from("vae/config.json", "an autoencoder"):
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
    if _DIFFUSERS_VAE not in weights:
        raise DemoPartError(
            f"The weights of vae do not fit their configuration: {_DIFFUSERS_VAE} is absent, by which an "
            "autoencoder of diffusers is known. The file may be another model's."
        )
    named = comfy.diffusers_convert.convert_vae_state_dict(dict(weights))
    with _named_misfit("vae"):
        vae = comfy.sd.VAE(sd=weights, config={"params": params})
    _check(vae.first_stage_model.state_dict(), named, "vae")
    return vae


def _weights(folder: str | PathLike[str], part: str, stem: str) -> Weights:
    return read_tensors(Path(folder) / part / f"{stem}.safetensors")


@contextmanager
def _named_misfit(part: str) -> Iterator[None]:
    """Loading weights into a model; torch names those of other shapes, but not whose they are."""
    try:
        yield
    except RuntimeError as error:
        reason = next((line.strip() for line in str(error).splitlines() if "size mismatch" in line), None)
        if reason is None:
            raise
        raise DemoPartError(f"The weights of {part} do not fit their configuration: {reason}") from error


def _check(needed: Any, weights: Weights, part: str) -> None:
    """ComfyUI would leave what it is not given uninitialised."""
    absent = sorted(set(needed) - set(weights))
    if absent:
        raise DemoPartError(
            f"The weights of {part} do not fit their configuration: {len(absent)} are absent, the first is "
            f"{absent[0]}. The folder may have been written by another version or be damaged."
        )
