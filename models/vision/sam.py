"""SAM (arXiv 2304.02643) of the package segment-anything, built of weights: its sizes are read off them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ...layout import Box
from ..errors import sizes_read_from
from ..finite import require_finite
from ..weights import CheckpointError, open_weights
from .interfaces import ModelError

BLOCKS = "image_encoder.blocks"
# Patches on each side of a picture: SAM sees 1024 pixels in patches of 16.
GRID = 64
# Scores of all patches for all patches: as multiplied, with positions added, after softmax, all at once.
COPIES_OF_SCORES = 3
HOW_TO_INSTALL = (
    "Segment Entities needs the package segment-anything. In ComfyUI's Python run: "
    "python -m pip install segment-anything"
)


def build_sam(state: Mapping[str, Tensor], name: str) -> nn.Module:
    """SAM from weights under its own names, sizes read off them: ViT-B, L, H, or smaller ones."""
    try:
        # The package is finished (one release), and its public builders know the three published sizes only.
        from segment_anything.build_sam import _build_sam  # pyright: ignore[reportPrivateUsage]
    except ImportError as error:
        raise ImportError(HOW_TO_INSTALL) from error
    with sizes_read_from(name, "SAM"):
        sizes = infer_sizes(state, name)
    require_finite(state, name)
    with torch.device("meta"):
        sam = _build_sam(**sizes)
    try:
        sam.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{name} is no SAM as published: {error}") from error
    # SAM's mean and deviation of red, green and blue: part of its code, not of its weights.
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


class SamInBoxes:
    """A `BoxSegmenter`: of the three masks that SAM has for a box, the one it is surest of."""

    def __init__(self, sam: Any) -> None:
        self.sam = sam

    @classmethod
    def load(cls, file: Path, device: str = "cpu") -> SamInBoxes:
        """Read a checkpoint; `ModelError` for no file, `CheckpointError` for other weights."""
        if not file.is_file():
            raise ModelError(f"--sam: there is no file {file}; a checkpoint of SAM is needed")
        weights = open_weights([file])
        state = {name: weights.read(name).clone() for name in weights}
        return cls(build_sam(state, file.name).to(device))

    @torch.inference_mode()
    def segment(self, picture: Image, boxes: Sequence[Box]) -> Tensor:
        """Masks (N, h, w) of what is in boxes, which are fractions of the picture."""
        from segment_anything import SamPredictor

        if not boxes:
            return torch.zeros(0, picture.height, picture.width, dtype=torch.bool)
        predictor = SamPredictor(self.sam)
        size = picture.height, picture.width
        bytes_ = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
        predictor.set_image(bytes_.view(*size, 3).numpy())
        corners = torch.tensor([[*box] for box in boxes]) * torch.tensor([picture.width, picture.height] * 2)
        prompts = predictor.transform.apply_boxes_torch(corners, size).to(predictor.device)
        masks, scores, _ = predictor.predict_torch(None, None, boxes=prompts, multimask_output=True)
        return masks[torch.arange(len(boxes), device=masks.device), scores.argmax(dim=1)].cpu()


def activation_bytes(sam: Any) -> int:
    """Memory of a run besides the weights, most of it in a block that sees the whole picture."""
    return COPIES_OF_SCORES * sam.image_encoder.blocks[0].attn.num_heads * GRID**4 * 4
