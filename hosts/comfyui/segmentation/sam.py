"""SAM under ComfyUI's memory management: boxes in, masks out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ....models.weights import CheckpointError, open_weights

BLOCKS = "image_encoder.blocks"
# SAM (arXiv 2304.02643) sees pictures of 1024 pixels in patches of 16.
GRID = 64
HOW_TO_INSTALL = (
    "Segment Entities needs the package segment-anything. In ComfyUI's Python run: "
    "python -m pip install segment-anything"
)


class Segmenter(nn.Module):
    """SAM in a module of its own: ComfyUI sets a `device` on what it manages."""

    def __init__(self, sam: nn.Module) -> None:
        super().__init__()
        self.sam = sam


def load_segmenter(path: Path) -> Any:
    """The ModelPatcher of a `Segmenter`; the last one is kept. `CheckpointError` for other weights."""
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _load(path: Path, _changed: int) -> Any:
    weights = open_weights([path])
    with torch.inference_mode(False):
        state = {name: weights.read(name).clone() for name in weights}
        model = Segmenter(build_sam(state, path.name))
    return comfy.model_patcher.ModelPatcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def build_sam(state: Mapping[str, Tensor], name: str) -> nn.Module:
    """SAM from weights under its own names, sizes read off them: ViT-B, L, H, or smaller ones."""
    try:
        # The package is finished (one release), and its public builders know the three published sizes only.
        from segment_anything.build_sam import _build_sam  # pyright: ignore[reportPrivateUsage]
    except ImportError as error:
        raise ImportError(HOW_TO_INSTALL) from error
    sizes = infer_sizes(state, name)
    with torch.device("meta"):
        sam = _build_sam(**sizes)
    try:
        sam.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{name} is no SAM as published: {error}") from error
    # Constants of the code, not part of the weights.
    sam.pixel_mean = torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)
    sam.pixel_std = torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)
    return sam.eval().requires_grad_(False)


def infer_sizes(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Arguments of the package's builder."""
    found = [int(match[1]) for key in state if (match := re.match(rf"{re.escape(BLOCKS)}\.(\d+)\.", key))]
    positions = state.get("image_encoder.pos_embed")
    if not found or positions is None or f"{BLOCKS}.0.attn.rel_pos_h" not in state:
        raise CheckpointError(
            f"{name} is no SAM checkpoint of the package segment-anything (SAM 2, MobileSAM and HQ-SAM are "
            "others). Use sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth or sam_vit_h_4b8939.pth."
        )
    depth, width = max(found) + 1, positions.shape[-1]
    tables = [state[f"{BLOCKS}.{block}.attn.rel_pos_h"] for block in range(depth)]
    return {
        "encoder_embed_dim": width,
        "encoder_depth": depth,
        "encoder_num_heads": width // tables[0].shape[1],
        # Blocks that see the whole picture have positions for all of it.
        "encoder_global_attn_indexes": [n for n, table in enumerate(tables) if len(table) == 2 * GRID - 1],
    }


def segment(patcher: Any, picture: Tensor, boxes: Sequence[tuple[float, float, float, float]]) -> Tensor:
    """Masks (N, H, W), bool, of what lies in boxes (x0, y0, x1, y1 in 0..1) of a picture (H, W, 3)."""
    from segment_anything import SamPredictor

    comfy.model_management.load_models_gpu([patcher])
    height, width = picture.shape[:2]
    predictor = SamPredictor(patcher.model.sam)
    pixels = (picture[..., :3].clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()
    predictor.set_image(pixels)
    scaled = torch.tensor(boxes) * torch.tensor([width, height, width, height])
    prompts = predictor.transform.apply_boxes_torch(scaled, (height, width)).to(patcher.load_device)
    masks, _, _ = predictor.predict_torch(None, None, boxes=prompts, multimask_output=False)
    return masks[:, 0].cpu()
