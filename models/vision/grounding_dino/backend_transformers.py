"""The backend transformers: Grounding DINO as that library has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .original import load_original


class Network(nn.Module):
    """The library's model in a module of its own: ComfyUI sets a `device` on what it manages."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Logits (Q, T) and boxes (Q, 4), cx cy w h, of a picture (1, 3, h, w) and a caption's tokens."""
        text = torch.tensor([list(ids)], device=pixels.device)
        outputs = self.model(
            pixel_values=pixels,
            input_ids=text,
            token_type_ids=torch.zeros_like(text),
            attention_mask=torch.ones_like(text),
        )
        return outputs.logits[0], outputs.pred_boxes[0]


def build(path: Path) -> Network:
    """The network on the CPU, of original weights or the library's folder; `CheckpointError` for others."""
    # A large import, needed by this node alone.
    from transformers import GroundingDinoForObjectDetection

    if path.is_dir():
        return Network(GroundingDinoForObjectDetection.from_pretrained(path, local_files_only=True))
    return Network(load_original(path))
