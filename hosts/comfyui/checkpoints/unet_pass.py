"""One evaluation of a file's UNet in ComfyUI, for the report that tells whether it loads as expected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import comfy.model_management
import torch
from torch import Tensor

from .unet import load_unet

TIME = 500
SIDE = 1024


@torch.no_grad()
def predict_noise(path: Path, inputs: Mapping[str, Tensor]) -> Tensor:
    """Noise predicted at step 500 from `latent`, `text` and `pooled`, in the precision that ComfyUI chooses.

    Returns float32 on the CPU. Raises `CheckpointError` for what is not a whole SDXL UNet.
    """
    patcher = load_unet(str(path))
    comfy.model_management.load_models_gpu([patcher], force_full_load=True)
    model, device = patcher.model, patcher.load_device
    dtype = model.get_dtype_inference() if hasattr(model, "get_dtype_inference") else model.get_dtype()
    given = {name: value.to(device, dtype) for name, value in inputs.items()}
    sizes = model.encode_adm(pooled_output=given["pooled"], width=SIDE, height=SIDE, device=device)
    time = torch.tensor([TIME], device=device)
    noise = model.diffusion_model(given["latent"], time, given["text"], y=sizes.to(device, dtype))
    return noise.float().cpu()
