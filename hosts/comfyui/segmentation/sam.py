"""SAM under ComfyUI's memory management: boxes in, masks out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ....models.vision.sam import activation_bytes, build_sam
from ....models.weights import open_weights
from ..loading import LastLoaded, load_whole


class Segmenter(nn.Module):
    """SAM in a module of its own: ComfyUI sets a `device` on what it manages."""

    def __init__(self, sam: nn.Module) -> None:
        super().__init__()
        self.sam = sam


def load_segmenter(path: Path) -> Any:
    """The ModelPatcher of a `Segmenter`, kept until it is unloaded. `CheckpointError` for other weights."""
    return _last.get((path, path.stat().st_mtime_ns), lambda: read_segmenter(path))


def read_segmenter(path: Path) -> Any:
    """The ModelPatcher of a `Segmenter`, read anew."""
    weights = open_weights([path])
    with torch.inference_mode(False):
        state = {name: weights.read(name).clone() for name in weights}
        model = Segmenter(build_sam(state, path.name))
    return comfy.model_patcher.ModelPatcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


_last: LastLoaded[Any] = LastLoaded(lambda patcher: patcher)


def segment(patcher: Any, picture: Tensor, boxes: Sequence[tuple[float, float, float, float]]) -> Tensor:
    """Masks (N, H, W), bool, of what lies in boxes (x0, y0, x1, y1 in 0..1) of a picture (H, W, 3)."""
    from segment_anything import SamPredictor

    device = load_whole(patcher, activation_bytes(patcher.model.sam))
    height, width = picture.shape[:2]
    predictor = SamPredictor(patcher.model.sam)
    pixels = (picture[..., :3].clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()
    predictor.set_image(pixels)
    scaled = torch.tensor(boxes) * torch.tensor([width, height, width, height])
    prompts = predictor.transform.apply_boxes_torch(scaled, (height, width)).to(device)
    masks, _, _ = predictor.predict_torch(None, None, boxes=prompts, multimask_output=False)
    return masks[:, 0].cpu()
