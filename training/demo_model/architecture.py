"""The demo model: SDXL's parts, block for block, at a size a CPU can train.

What ComfyUI's SDXL classes assume is kept: group norms of 32 channels, an autoencoder of four levels, the
CLIP vocabulary, 256-wide size embeddings, the text width as the sum of both encoders' widths.
"""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

# SDXL's own factor, because ComfyUI's latent format for SDXL has it built in.
LATENT_SCALE = 0.13025
LATENT_CHANNELS = 4
# What keeps the level of the channel beside it through a group norm of two. Larger than the signal; negative,
# so that the signal ends up on the rising side of SiLU.
_PILOT = -4.0
TEXT_WIDTHS = (24, 40)
TEXT_LAYERS = 6
# Not 32 first: the last group norm would see single channels and take their mean away, which at the first
# sampling steps is nearly all that tells the background.
UNET_WIDTHS = (64, 64, 128)
# Half as wide at first, for the first stages of training: a step takes a tenth less.
NARROW_WIDTHS = (32, 64, 128)
HEAD_DIM = 16
# SDXL's (0, 2, 10), shortened.
TRANSFORMER_BLOCKS = (1, 1, 2)
TIME_WIDTH = 256
# OpenAI's CLIP vocabulary (MIT licence), as SDXL's tokenizers have it.
VOCABULARY, START, END = 49408, 49406, 49407


def make_autoencoder() -> AutoencoderKL:
    """The f8 autoencoder with four latent channels, freshly initialised."""
    make: Any = AutoencoderKL
    autoencoder: AutoencoderKL = make(
        # Not 32: groups of a single channel would normalise away how bright and colourful a picture is.
        block_out_channels=(64, 64, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=32,
        scaling_factor=LATENT_SCALE,
        sample_size=128,
    )
    _start_simple(autoencoder)
    return autoencoder


def _start_simple(autoencoder: AutoencoderKL) -> None:
    """Initial weights that pass local colours through from the first step on.

    Residual branches start at zero, resampling as plain copies and all other convolutions without looking at
    neighbours, so training begins with a mosaic of the picture instead of having to find one; and the latent
    starts almost without noise (deviation 0.05).
    """
    encoder: Any = autoencoder.encoder
    decoder: Any = autoencoder.decoder
    mixing: Any = autoencoder.quant_conv
    unmixing: Any = autoencoder.post_quant_conv
    for convolution in (
        encoder.conv_in,
        encoder.conv_out,
        mixing,
        unmixing,
        decoder.conv_in,
        decoder.conv_out,
    ):
        _look_at_center(convolution)
    for name, module in autoencoder.named_modules():
        if name.endswith((".conv2", ".to_out.0")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif name.endswith(("downsamplers.0.conv", "upsamplers.0.conv")):
            nn.init.dirac_(module.weight)
            nn.init.zeros_(module.bias)
    # A group norm sees two channels: beside a constant one the other keeps its level, which on its own would
    # be normalised away, and with it how bright the picture is.
    for convolution in (encoder.conv_in, decoder.conv_in):
        nn.init.zeros_(convolution.weight.data[1::2])
        nn.init.constant_(convolution.bias.data[1::2], _PILOT)
    nn.init.zeros_(mixing.weight.data[LATENT_CHANNELS:])
    nn.init.constant_(mixing.bias.data[LATENT_CHANNELS:], -6.0)


def _look_at_center(convolution: Any) -> None:
    _, inputs, height, width = convolution.weight.shape
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    nn.init.normal_(convolution.weight.data[:, :, height // 2, width // 2], std=inputs**-0.5)


def make_text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Both text encoders, freshly initialised; the second one's projection is the pooled prompt."""
    first, second = TEXT_WIDTHS
    return (
        CLIPTextModel(_text_config(first, 2, "quick_gelu", END)),
        CLIPTextModelWithProjection(_text_config(second, 4, "gelu", 0)),
    )


def make_unet(widths: tuple[int, ...] = UNET_WIDTHS) -> UNet2DConditionModel:
    """The UNet, freshly initialised."""
    make: Any = UNet2DConditionModel
    unet: UNet2DConditionModel = make(
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=widths,
        layers_per_block=2,
        transformer_layers_per_block=TRANSFORMER_BLOCKS,
        # diffusers' name for the number of heads, kept from older checkpoints.
        attention_head_dim=tuple(width // HEAD_DIM for width in widths),
        cross_attention_dim=sum(TEXT_WIDTHS),
        norm_num_groups=32,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=TEXT_WIDTHS[1] + 6 * TIME_WIDTH,
    )
    _pair_last_channels(unet)
    return unet


def _pair_last_channels(unet: Any) -> None:
    """Every second channel before the last group norm starts as the negative of its neighbour.

    Of a pair x, -x the norm takes no mean away, it only divides by the root mean square; and as
    silu(x) - silu(-x) = x, the last convolution starts linear. So the mean of the noise, which at the first
    sampling steps decides about the background, is there to be learned from the first step on.
    """
    last = unet.up_blocks[-1].resnets[-1]
    for convolution in (last.conv2, last.conv_shortcut):
        convolution.weight.data[1::2] = -convolution.weight.data[::2]
        convolution.bias.data[1::2] = -convolution.bias.data[::2]
    unet.conv_out.weight.data[:, 1::2] = -unet.conv_out.weight.data[:, ::2]


def _text_config(width: int, heads: int, activation: str, padding: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=heads,
        hidden_act=activation,
        projection_dim=width,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=padding,
    )
