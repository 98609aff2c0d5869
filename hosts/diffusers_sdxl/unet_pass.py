"""One evaluation of a file's UNet in diffusers, for the report that tells whether it loads as expected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from ...models.sdxl.files import UNetFile, open_unet
from ...models.sdxl.names import unet_names
from ...models.weights import CheckpointError, listing

TIME = 500
# Original height and width, crop, and target size: those of SDXL's own resolution.
SIZES = (1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0)


@torch.no_grad()
def predict_noise(path: Path, inputs: Mapping[str, Tensor]) -> Tensor:
    """Noise predicted at step 500 from `latent`, `text` and `pooled`, in float32 on the CPU.

    `path` is a diffusers folder or a single file. Raises `CheckpointError` for what is not a whole SDXL UNet.
    """
    unet = _load(open_unet(path))
    sizes = torch.tensor([SIZES])
    return unet(
        inputs["latent"],
        TIME,
        inputs["text"],
        added_cond_kwargs={"text_embeds": inputs["pooled"], "time_ids": sizes},
    ).sample


def _load(file: UNetFile) -> Any:
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(dict(file.config) or _SDXL)
    names = unet_names(list(unet.state_dict()))
    missing = [original for original in names.values() if original not in file.weights]
    if missing:
        raise CheckpointError(
            f"{file.name} is incomplete: {len(missing)} weights of the UNet are missing: {listing(missing)}."
        )
    state = {name: file.weights.read(original).float() for name, original in names.items()}
    unet.load_state_dict(state, assign=True)
    return unet.eval()


# unet/config.json of stabilityai/stable-diffusion-xl-base-1.0.
_SDXL: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "in_channels": 4,
    "layers_per_block": 2,
    "out_channels": 4,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
