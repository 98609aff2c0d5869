"""A tiny SDXL as ComfyUI's own classes: MODEL, CLIP, VAE.

Weights come as plain state dicts (diffusers names for the UNet, Hugging Face names for the encoders), because
ComfyUI leaves what it is not given uninitialised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.sdxl_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep
from torch import Tensor

CPU = torch.device("cpu")
Patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)

# Two encoders of one width: together the UNet's text width, and the second alone its pooled width.
TEXT_WIDTH = 24
TEXT_LAYERS = (8, 10)


def tiny_model(
    unet: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
    computing: torch.dtype | None = None,
) -> Any:
    """The MODEL of a diffusers UNet config and state dict; `in_channels` 9 makes it inpainting SDXL.

    `computing` is the type its weights of `dtype` are cast to for each operation.
    """
    config = tiny_unet_config(unet)

    class TinySDXL(comfy.supported_models.SDXL):
        unet_config = config
        unet_extra_config = {"num_heads": -1, "num_head_channels": head_dim(unet)}  # noqa: RUF012

    settings = TinySDXL(config)
    settings.set_inference_dtype(dtype, computing)
    model = settings.get_model({}, "", CPU)
    model.embedder = Timestep(unet["addition_time_embed_dim"])
    names = comfy.utils.unet_to_diffusers(config)
    patcher = Patcher(model, load_device=CPU, offload_device=CPU)
    state = {names[name]: value.to(dtype) for name, value in weights.items()}
    missing = set(model.diffusion_model.state_dict()) - set(state)
    assert not missing, f"weights ComfyUI would leave uninitialised: {missing}"
    model.load_model_weights(state, "")
    return patcher


def tiny_clip(weights: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] | None = None) -> Any:
    """The CLIP of SDXL with ComfyUI's own tokenizers; random encoders unless their state dicts are given."""
    target = comfy.supported_models_base.ClipTarget(
        comfy.sdxl_clip.SDXLTokenizer, comfy.sdxl_clip.SDXLClipModel
    )
    options = {
        f"clip_{name}_model_config": {
            "hidden_size": TEXT_WIDTH,
            "num_attention_heads": 2,
            "intermediate_size": 2 * TEXT_WIDTH,
            "num_hidden_layers": layers,
        }
        for name, layers in zip("lg", TEXT_LAYERS, strict=True)
    }
    clip = comfy.sd.CLIP(target, model_options=options)
    for encoder, given in zip(
        (clip.cond_stage_model.clip_l, clip.cond_stage_model.clip_g), weights or (None, None), strict=True
    ):
        own = encoder.transformer.state_dict()
        encoder.transformer.load_state_dict(given or random_like(own, seed=len(own)))
    return clip


def tiny_vae() -> Any:
    """An f8 VAE with random weights."""
    sizes = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    config = {"params": {"ddconfig": sizes, "embed_dim": 4}}
    from comfy.ldm.models.autoencoder import AutoencoderKL

    state = AutoencoderKL(**config["params"]).state_dict()
    return comfy.sd.VAE(sd=random_like(state, seed=3), config=config)


def tiny_video_vae() -> Any:
    """Wan's VAE with random weights, as Qwen-Image, Anima and Krea 2 have it: a picture is a video."""
    from comfy.ldm.wan.vae import WanVAE

    made = WanVAE(dim=8, z_dim=16, temperal_downsample=[False, True, True])
    return comfy.sd.VAE(sd=random_like(made.state_dict(), seed=4))


def random_like(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Random weights that keep activations of order one: norms near 1, matrices scaled by their width."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Tensor] = {}
    for name, like in state.items():
        noise = torch.randn(like.shape, generator=generator)
        if like.ndim > 1:
            made[name] = noise if "embedding" in name else noise / like[0].numel() ** 0.5
        else:
            made[name] = 1.0 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    return made


def tiny_unet_config(unet: Mapping[str, Any]) -> dict[str, Any]:
    """A diffusers config in the words of ComfyUI's UNetModel."""
    widths, blocks = unet["block_out_channels"], unet["layers_per_block"]
    depths = [
        depth if "CrossAttn" in kind else 0
        for kind, depth in zip(unet["down_block_types"], unet["transformer_layers_per_block"], strict=True)
    ]
    return {
        "use_checkpoint": False,
        "image_size": 32,
        "out_channels": 4,
        "use_spatial_transformer": True,
        "legacy": False,
        "num_classes": "sequential",
        "adm_in_channels": unet["projection_class_embeddings_input_dim"],
        "dtype": torch.float32,
        "in_channels": unet.get("in_channels", 4),
        "model_channels": widths[0],
        "num_res_blocks": [blocks] * len(widths),
        "transformer_depth": [depth for depth in depths for _ in range(blocks)],
        "channel_mult": [width // widths[0] for width in widths],
        "transformer_depth_middle": depths[-1],
        "use_linear_in_transformer": True,
        "context_dim": unet["cross_attention_dim"],
        "transformer_depth_output": [depth for depth in depths for _ in range(blocks + 1)],
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        "num_head_channels": head_dim(unet),
    }


def head_dim(unet: Mapping[str, Any]) -> int:
    """Width of an attention head."""
    # diffusers calls the number of heads attention_head_dim, as older checkpoints did.
    return unet["block_out_channels"][-1] // unet["attention_head_dim"][-1]
