"""A diffusers folder of SDXL's shape with small random weights, and an IFAdapter that fits it.

Every component is the real class at a small size: an f8 VAE, two CLIP text encoders with a byte-level CLIP
vocabulary of our own, a UNet with SDXL's block names. `python tests/support/tiny_sdxl.py FOLDER` writes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from shutil import copy
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from instance_composer.models.ifadapter import IFAdapter, IFAdapterConfig
from instance_composer.models.sdxl.attention_layers import number_attention_layers

START, END = "<|startoftext|>", "<|endoftext|>"
TEXT_WIDTHS = (20, 28)
POOLED = 24
DEPTHS = (1, 1, 3)
WIDTH, HEAD_DIM = 64, 16
ADAPTED_BLOCKS = 2

UNET = {
    "sample_size": 32,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (32, 32, WIDTH),
    "layers_per_block": 2,
    "transformer_layers_per_block": DEPTHS,
    "attention_head_dim": (2, 2, WIDTH // HEAD_DIM),
    "cross_attention_dim": sum(TEXT_WIDTHS),
    "norm_num_groups": 32,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": POOLED + 6 * 8,
}
# The same blocks with one layer each, which is called in a third of the time.
SHALLOW_UNET = {**UNET, "layers_per_block": 1, "transformer_layers_per_block": (1, 1, 1)}


def write_tiny_sdxl(folder: Path, seed: int = 0, unet: Mapping[str, Any] = UNET) -> Path:
    """Write the diffusers folder and return it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        StableDiffusionXLPipeline(
            vae=tiny_vae(),
            text_encoder=CLIPTextModel(text_config(TEXT_WIDTHS[0], "quick_gelu")),
            text_encoder_2=CLIPTextModelWithProjection(text_config(TEXT_WIDTHS[1], "gelu")),
            tokenizer=tiny_tokenizer(folder.parent / "vocabulary", pad=END),
            tokenizer_2=tiny_tokenizer(folder.parent / "vocabulary", pad="!"),
            unet=UNet2DConditionModel(**unet),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                timestep_spacing="leading",
                steps_offset=1,
            ),
            add_watermarker=False,
        ).save_pretrained(folder)
    for name in ("tokenizer", "tokenizer_2"):
        # As SDXL is published, with the vocabulary in files that every transformers reads.
        (folder / name / "tokenizer.json").unlink(missing_ok=True)
        for file in (folder.parent / "vocabulary").iterdir():
            copy(file, folder / name)
    return folder


def write_tiny_unet(folder: Path, weights: Mapping[str, Tensor]) -> Path:
    """Write a diffusers folder with these weights of the tiny UNet alone, and return it."""
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps(UNET), encoding="utf-8")
    contiguous = {name: value.contiguous() for name, value in weights.items()}
    save_file(contiguous, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def write_tiny_ifadapter(path: Path, seed: int = 1, unet: Mapping[str, Any] = UNET) -> Path:
    """Write an IFAdapter for the tiny UNet and return its path."""
    down, mid, up = _attentions(unet)
    layers = [
        number
        for number, layer in number_attention_layers(down, up, mid).items()
        if layer.transformer_block < ADAPTED_BLOCKS
        and (layer.stage == "mid" or (layer.stage == "up" and layer.position <= unet["layers_per_block"]))
    ]
    config = IFAdapterConfig(
        phrase_width=sum(TEXT_WIDTHS),
        text_width=sum(TEXT_WIDTHS),
        queries=4,
        resampler_width=32,
        resampler_depth=4,
        resampler_heads=2,
        resampler_head_dim=16,
        resampler_hidden=64,
        position_features=512,
        position_hidden=32,
        head_dim=HEAD_DIM,
        gate_hidden=4,
        gate_kernel=7,
        layers=dict.fromkeys(layers, WIDTH),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapter = IFAdapter(config)
        # Modules start as training would start them, output gates at zero; a trained adapter has no such
        # zeros.
        for name, parameter in adapter.named_parameters():
            if name.endswith((".alpha", "_norm.weight", ".latents")):
                nn.init.normal_(parameter, std=0.5)
    adapter.save(path)
    return path


def tiny_tokenizer(folder: Path, pad: str, length: int = 77) -> CLIPTokenizer:
    """CLIP's tokenizer with bytes as its only vocabulary: every character is a token."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = _byte_characters()
    pieces = [*characters, *(f"{character}</w>" for character in characters), START, END]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}), encoding="utf-8")
    merges.write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder, pad_token=pad, model_max_length=length)


def tiny_vae() -> AutoencoderKL:
    """An f8 autoencoder with four latent channels."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.13025,
    )


def _attentions(unet: Mapping[str, Any]) -> tuple[list[int], int, list[int]]:
    """Transformer blocks of every attention: down stages, middle, up stages, in execution order."""
    layers, depths = unet["layers_per_block"], unet["transformer_layers_per_block"]
    down = [depths[stage] for stage in (1, 2) for _ in range(layers)]
    up = [depths[stage] for stage in (2, 1) for _ in range(layers + 1)]
    return down, depths[2], up


def text_config(width: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=6,
        num_attention_heads=2,
        hidden_act=activation,
        projection_dim=POOLED,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def _byte_characters() -> list[str]:
    """One printable character for each of the 256 bytes, as GPT-2's and CLIP's byte-level BPE write them."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(others))]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_tiny_sdxl(target / "sdxl")
    write_tiny_ifadapter(target / "ifadapter.safetensors")
