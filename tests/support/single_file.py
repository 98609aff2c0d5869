"""A diffusers SDXL pipeline as one `.safetensors` file with the names of the original SDXL code.

The inverse of what loaders do, for the parts SDXL has; tests use it to have a single file to load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write_single_file(pipeline: Any, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write UNet, both text encoders and the VAE under their original names."""
    state: dict[str, Tensor] = {}
    for prefix, items in (
        ("model.diffusion_model.", _unet(pipeline.unet)),
        ("conditioner.embedders.0.transformer.", _clip(pipeline.text_encoder)),
        ("conditioner.embedders.1.model.", _open_clip(pipeline.text_encoder_2)),
        ("first_stage_model.", _vae(pipeline.vae)),
    ):
        state |= {prefix + key: value.clone().contiguous() for key, value in items}
    save_file(state, path, metadata)
    return path


def _rename(key: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        if key == ours or key.startswith(f"{ours}."):
            return theirs + key[len(ours) :]
    return key


def _unet(unet: Any) -> Iterator[tuple[str, Tensor]]:
    layers = unet.config.layers_per_block
    for key, value in unet.state_dict().items():
        if match := re.match(
            r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key
        ):
            stage, block, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
            size = layers + 1
            place = block * size + index + (stage == "down")
            if kind == "downsamplers":
                key = f"input_blocks.{(block + 1) * size}.0.op.{rest.removeprefix('conv.')}"
            elif kind == "upsamplers":
                # After the attentions of the last block of a stage, if it has any.
                slot = 1 + hasattr(unet.up_blocks[block], "attentions")
                key = f"output_blocks.{block * size + layers}.{slot}.{rest}"
            else:
                rest = _rename(rest, _RESNET) if kind == "resnets" else rest
                part = "input_blocks" if stage == "down" else "output_blocks"
                key = f"{part}.{place}.{int(kind == 'attentions')}.{rest}"
        elif match := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key):
            rest = _rename(match[3], _RESNET) if match[1] == "resnets" else match[3]
            key = f"middle_block.{1 if match[1] == 'attentions' else 2 * int(match[2])}.{rest}"
        else:
            key = _rename(key, _UNET)
        yield key, value


def _clip(encoder: Any) -> Iterator[tuple[str, Tensor]]:
    for key, value in encoder.state_dict().items():
        yield f"text_model.{key.removeprefix('text_model.')}", value


def _open_clip(encoder: Any) -> Iterator[tuple[str, Tensor]]:
    state = {key.removeprefix("text_model."): value for key, value in encoder.state_dict().items()}
    yield "token_embedding.weight", state["embeddings.token_embedding.weight"]
    yield "positional_embedding", state["embeddings.position_embedding.weight"]
    yield "text_projection", state["text_projection.weight"].T
    for key, value in state.items():
        if key.startswith("final_layer_norm"):
            yield key.replace("final_layer_norm", "ln_final"), value
        if match := re.match(r"encoder\.layers\.(\d+)\.(.*)", key):
            block, rest = f"transformer.resblocks.{match[1]}", match[2]
            if projection := re.match(r"self_attn\.q_proj\.(weight|bias)", rest):
                parts = [state[key.replace("q_proj", f"{x}_proj")] for x in "qkv"]
                yield f"{block}.attn.in_proj_{projection[1]}", torch.cat(parts)
            elif not re.match(r"self_attn\.[kv]_proj", rest):
                yield f"{block}.{_rename(rest, _OPEN_CLIP)}", value


def _vae(vae: Any) -> Iterator[tuple[str, Tensor]]:
    blocks = len(vae.config.block_out_channels)
    for key, value in vae.state_dict().items():
        key = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
        key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
        for block in range(blocks):
            up = f"up.{blocks - 1 - block}"
            key = key.replace(f"up_blocks.{block}.resnets.", f"{up}.block.")
            key = key.replace(f"up_blocks.{block}.upsamplers.0", f"{up}.upsample")
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
        if "mid_block.attentions.0." in key:
            for ours, theirs in (
                ("group_norm", "norm"),
                ("to_q", "q"),
                ("to_k", "k"),
                ("to_v", "v"),
                ("to_out.0", "proj_out"),
            ):
                key = key.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
            value = value[:, :, None, None] if value.ndim == 2 else value
        key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        yield key, value
