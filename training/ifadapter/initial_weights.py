"""A fresh IFAdapter for an SDXL UNet of any size: its configuration and its initial weights."""

from __future__ import annotations

from typing import Any

from diffusers import UNet2DConditionModel
from torch import nn

from ...models.ifadapter import IFAdapter, IFAdapterConfig
from ...models.ifadapter.resampler import HeadNorm
from ...models.sdxl.attention_layers import number_attention_layers

# The published adapter sits in the first four transformer blocks of each attention at the coarsest grid: the
# middle and the first up stage.
ADAPTED_BLOCKS = 4
UP_STAGES = 1
# The demo model's coarsest grid has 4 × 4 cells, SDXL's 32 × 32: boxes need one finer.
_SMALL_UP_STAGES = 2
# CBAM's reduction and kernel, as published.
_REDUCTION, _KERNEL = 16, 7


def make_adapter(unet: UNet2DConditionModel, *, small: bool = False) -> IFAdapter:
    """An untrained adapter for the middle and the first up stage of `unet`, with sizes as published.

    `small` is one for the demo model, with smaller sizes and in the second up stage as well. Draws from the
    global random generator; the term it adds is zero until it has learned something.
    """
    layers = adapted_layers(unet, _SMALL_UP_STAGES if small else UP_STAGES)
    text_width: int = unet.config["cross_attention_dim"]
    width = unet.config["block_out_channels"][-1]
    sizes: dict[str, int] = (
        {
            "resampler_width": 128,
            "resampler_heads": 8,
            "resampler_head_dim": 16,
            "resampler_hidden": 256,
            "position_hidden": 128,
        }
        if small
        else {
            "resampler_width": 2560,
            "resampler_heads": 20,
            "resampler_head_dim": 128,
            "resampler_hidden": 10240,
            "position_hidden": 768,
        }
    )
    config = IFAdapterConfig(
        phrase_width=text_width,
        text_width=text_width,
        queries=4,
        resampler_depth=4,
        position_features=512,
        head_dim=width // _heads(unet),
        gate_hidden=max(4, width // _REDUCTION),
        gate_kernel=_KERNEL,
        layers=layers,
        **sizes,
    )
    adapter = IFAdapter(config)
    init_weights(adapter)
    return adapter


def init_weights(adapter: IFAdapter) -> None:
    """Initial values of what PyTorch's own initialisation of linear layers and convolutions leaves out.

    Latent queries N(0, 1) / sqrt(width); factors of normalisations 1 and output gates tanh(0), so that
    training starts from the model's own pictures. Source: IFAdapter (arXiv 2409.08240) and its released code.
    """
    latents = adapter.text_proj_model.latents
    nn.init.normal_(latents, std=latents.shape[-1] ** -0.5)
    for module in adapter.modules():
        if isinstance(module, HeadNorm):
            nn.init.zeros_(module.weight)
    for layer in adapter.attention.values():
        nn.init.zeros_(layer.alpha)


def adapted_layers(unet: UNet2DConditionModel, up_stages: int = UP_STAGES) -> dict[int, int]:
    """Official processor number -> attention width of every layer a fresh adapter gets."""
    down, up, mid = (_depths(stage) for stage in (unet.down_blocks, unet.up_blocks, [unet.mid_block]))
    widths: list[int] = list(reversed(unet.config["block_out_channels"]))
    # One for each attention of the stages that are adapted; they come first among those of all up stages.
    up_widths = [
        width
        for block, width in zip(list(unet.up_blocks)[:up_stages], widths, strict=False)
        for _ in getattr(block, "attentions", ())
    ]
    layers: dict[int, int] = {}
    for number, layer in number_attention_layers(down, up, mid[0]).items():
        if layer.transformer_block >= ADAPTED_BLOCKS:
            continue
        if layer.stage == "mid":
            layers[number] = widths[0]
        elif layer.stage == "up" and layer.position < len(up_widths):
            layers[number] = up_widths[layer.position]
    return layers


def _depths(blocks: Any) -> list[int]:
    """Transformer blocks of every attention of these blocks, in execution order."""
    return [
        len(attention.transformer_blocks)
        for block in blocks
        for attention in getattr(block, "attentions", ())
    ]


def _heads(unet: UNet2DConditionModel) -> int:
    # diffusers' name for the number of heads, kept from older checkpoints.
    heads = unet.config["attention_head_dim"]
    return heads if isinstance(heads, int) else heads[-1]
