"""The demo model as a diffusers pipeline: fresh parts around a trained autoencoder, or a folder continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline
from torch import nn
from transformers import CLIPTokenizer

from ..noise import SCHEDULE
from .architecture import UNET_WIDTHS, make_text_encoders, make_unet

TOKENIZER = Path(__file__).parent / "tokenizer"


def make_tokenizers() -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """SDXL's two tokenizers: one vocabulary, padded with the end of text and with "!" respectively."""
    first, second = (
        CLIPTokenizer.from_pretrained(str(TOKENIZER), pad_token=padding, model_max_length=77)
        for padding in ("<|endoftext|>", "!")
    )
    return first, second


def make_pipeline(
    autoencoder: AutoencoderKL, widths: tuple[int, ...] = UNET_WIDTHS
) -> StableDiffusionXLPipeline:
    """A pipeline with fresh text encoders and UNet; draws from the global random generator."""
    tokenizer, tokenizer_2 = make_tokenizers()
    encoder, encoder_2 = make_text_encoders()
    for text_encoder in (encoder, encoder_2):
        _spread_embeddings(text_encoder)
    make: Any = StableDiffusionXLPipeline
    return make(
        vae=autoencoder,
        text_encoder=encoder,
        text_encoder_2=encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=make_unet(widths),
        scheduler=EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading", steps_offset=1),
        # SDXL's own setting: an empty negative prompt means zeros.
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def _spread_embeddings(text_encoder: nn.Module) -> None:
    # CLIP's own 0.02 suits widths of 768 and more; in a narrow model it would drown the words in the
    # transformer's first outputs, and cross-attention would see next to nothing for thousands of steps.
    for name, parameter in text_encoder.named_parameters():
        if "token_embedding" in name:
            nn.init.normal_(parameter, std=0.3)
        elif "position_embedding" in name:
            nn.init.normal_(parameter, std=0.1)
