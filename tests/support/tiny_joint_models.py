"""Diffusers folders of Stable Diffusion 3 and Flux, of small random weights of the real classes."""

from __future__ import annotations

from pathlib import Path
from shutil import copy
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tiny_sdxl import END, POOLED, text_config, tiny_tokenizer
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

_CLIP, _T5 = 32, 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_tiny_stable_diffusion_3(folder: Path, seed: int = 0) -> Path:
    """Write the diffusers folder and return it."""
    vocabulary = folder.parent / "vocabulary-3"
    tokenizers = {name: tiny_tokenizer(vocabulary, pad=END) for name in ("tokenizer", "tokenizer_2")}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoders = {
            name: CLIPTextModelWithProjection(text_config(_CLIP, "quick_gelu"))
            for name in ("text_encoder", "text_encoder_2")
        }
        transformer = SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=_T5, caption_projection_dim=32,
            pooled_projection_dim=2 * POOLED, pos_embed_max_size=16,
        )  # fmt: skip
        parts: dict[str, Any] = {**tokenizers, **encoders}
        StableDiffusion3Pipeline(
            vae=_vae(), transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(),
            tokenizer_3=_t5_tokenizer(), text_encoder_3=_t5(), **parts,
        ).save_pretrained(folder)  # fmt: skip
    _keep_vocabulary(vocabulary, folder, *tokenizers)
    return folder


def write_tiny_flux(folder: Path, seed: int = 0) -> Path:
    """Write the diffusers folder and return it; like FLUX.1-dev it reads its guidance."""
    vocabulary = folder.parent / "vocabulary-flux"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=_T5, pooled_projection_dim=_CLIP, axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        )  # fmt: skip
        FluxPipeline(
            vae=_vae(), transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(),
            tokenizer=tiny_tokenizer(vocabulary, pad=END), tokenizer_2=_t5_tokenizer(),
            text_encoder=CLIPTextModel(text_config(_CLIP, "quick_gelu")), text_encoder_2=_t5(),
        ).save_pretrained(folder)  # fmt: skip
    _keep_vocabulary(vocabulary, folder, "tokenizer")
    return folder


def _keep_vocabulary(vocabulary: Path, folder: Path, *tokenizers: str) -> None:
    for name in tokenizers:
        (folder / name / "tokenizer.json").unlink(missing_ok=True)
        for file in vocabulary.iterdir():
            copy(file, folder / name)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=1.5,
        shift_factor=0.06,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=64, d_model=_T5, d_ff=64, d_kv=16, num_layers=1, num_heads=4)
    ).eval()


def _t5_tokenizer() -> T5TokenizerFast:
    pieces = [(one, 0.0) for one in ("<pad>", "</s>", "<unk>")]
    pieces += [(one, -2.0) for one in ("▁", *_LETTERS)]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=512)
