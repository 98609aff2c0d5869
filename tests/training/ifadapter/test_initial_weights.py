"""A fresh adapter sits where the published one does."""

from __future__ import annotations

import torch

from instance_composer.training.ifadapter.initial_weights import adapted_layers


def test_the_adapter_sits_where_the_published_one_does():
    """In SDXL's own proportions: 16 layers, the numbers of the published file."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(32, 32, 32),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(1, 2, 4),
            cross_attention_dim=8,
            use_linear_projection=True,
        )
    published = [49, 51, 53, 55, 69, 71, 73, 75, 89, 91, 93, 95, 121, 123, 125, 127]
    assert sorted(adapted_layers(unet)) == published
