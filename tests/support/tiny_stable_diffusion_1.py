"""A diffusers folder of Stable Diffusion 1's shape with small random weights of the real classes."""

from __future__ import annotations

from pathlib import Path
from shutil import copy
from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionGLIGENPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tiny_sdxl import END, TEXT_WIDTHS, text_config, tiny_tokenizer, tiny_vae
from torch import nn
from transformers import CLIPTextModel

CROSS_ATTENTION = TEXT_WIDTHS[0]


def write_tiny_stable_diffusion_1(folder: Path, seed: int = 0) -> Path:
    """Write the diffusers folder and return it."""
    return _write(StableDiffusionPipeline, folder, seed)


def write_tiny_gligen(folder: Path, seed: int = 0) -> Path:
    """Write the diffusers folder of a GLIGEN for boxes with texts, whose gates are open, and return it."""
    return _write(StableDiffusionGLIGENPipeline, folder, seed, attention_type="gated")


def _write(pipeline: Any, folder: Path, seed: int, **unet_options: Any) -> Path:
    vocabulary = folder.parent / "vocabulary-1"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=32,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            block_out_channels=(32, 32, 32, 32),
            layers_per_block=1,
            attention_head_dim=2,
            cross_attention_dim=CROSS_ATTENTION,
            norm_num_groups=8,
            **unet_options,
        )
        for name, parameter in unet.named_parameters():
            if ".alpha_" in name:
                nn.init.constant_(parameter, 1.0)
        pipeline(
            vae=tiny_vae(),
            text_encoder=CLIPTextModel(text_config(CROSS_ATTENTION, "quick_gelu")),
            tokenizer=tiny_tokenizer(vocabulary, pad=END),
            unet=unet,
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
            ),
            safety_checker=None,
            feature_extractor=None,  # type: ignore[arg-type]
            requires_safety_checker=False,
        ).save_pretrained(folder)
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    for file in vocabulary.iterdir():
        copy(file, folder / "tokenizer")
    return folder
