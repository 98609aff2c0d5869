"""The demo transformer: Flux.1's blocks at a size a CPU can train, on the demo model's latents and texts."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxTransformer2DModel, StableDiffusionXLPipeline
from torch import nn

from ..flow.sampling import PATCH
from .architecture import LATENT_CHANNELS, TEXT_WIDTHS

HEADS, HEAD_DIM = 6, 32
# In a double block text and picture have weights of their own, which takes more of the file but no more time:
# two of them, and the rest shared.
DOUBLE_BLOCKS, SINGLE_BLOCKS = 2, 5
# Numbers of a head that rows and columns turn, and those that no place turns: what is compared without place.
ROTATED = (8, 12, 12)


def make_transformer(text: int = sum(TEXT_WIDTHS), pooled: int = TEXT_WIDTHS[1]) -> FluxTransformer2DModel:
    """A transformer with fresh weights, 5.7 million; draws from the global random generator.

    `text` and `pooled` are the widths of what it reads of captions.
    """
    make: Any = FluxTransformer2DModel
    transformer: FluxTransformer2DModel = make(
        patch_size=1,
        in_channels=LATENT_CHANNELS * PATCH**2,
        num_layers=DOUBLE_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=HEADS,
        joint_attention_dim=text,
        pooled_projection_dim=pooled,
        guidance_embeds=False,
        axes_dims_rope=ROTATED,
    )
    _start_as_nothing(transformer)
    return transformer


def fitting_transformer(pipeline: StableDiffusionXLPipeline) -> FluxTransformer2DModel:
    """The same for what the text encoders of a pipeline make."""
    encoders: tuple[Any, Any] = (pipeline.text_encoder, pipeline.text_encoder_2)
    widths = [encoder.config.hidden_size for encoder in encoders]
    return make_transformer(sum(widths), encoders[1].config.projection_dim)


@torch.no_grad()
def _start_as_nothing(transformer: nn.Module) -> None:
    """Initial weights with which every block hands through what it is given, and zero is predicted.

    Source: adaLN-Zero (Peebles and Xie 2023, arXiv 2212.09748).
    """
    for name, module in transformer.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        if ".norm" in f".{name}" or name == "proj_out":
            nn.init.zeros_(module.weight)
        else:
            nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
