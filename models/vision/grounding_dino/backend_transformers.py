"""The backend transformers: Grounding DINO as that library has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...weights import CheckpointError, listing, open_weights
from .original import load_original

# BERT's padding token, for the shorter captions of a batch; the attention mask hides it.
PADDING = 0


class Network(nn.Module):
    """The library's model in a module of its own: ComfyUI sets a `device` on what it manages."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, captions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Logits (B, Q, T), boxes (B, Q, 4) as cx cy w h, of pixels (B, 3, h, w) and captions as tokens."""
        longest = max(map(len, captions))
        rows = [[*caption, *[PADDING] * (longest - len(caption))] for caption in captions]
        read = [[1] * len(caption) + [0] * (longest - len(caption)) for caption in captions]
        text = torch.tensor(rows, device=pixels.device)
        outputs = self.model(
            pixel_values=pixels,
            input_ids=text,
            token_type_ids=torch.zeros_like(text),
            attention_mask=torch.tensor(read, device=pixels.device),
        )
        return outputs.logits, outputs.pred_boxes


def _refuse_quantised(folder: Path) -> None:
    """Raise `CheckpointError` for quantised weights: the library would take them as they lie."""
    files = sorted(folder.glob("*.safetensors"))
    quantised = open_weights(files).quantised if files else []
    if quantised:
        raise CheckpointError(
            f"{folder.name} has quantised weights, which are not read from a folder: "
            f"{listing(quantised, most=3)}. Take it in 16 or 32 bits."
        )


def build(path: Path) -> Network:
    """The network on the CPU, of original weights or the library's folder; `CheckpointError` for others."""
    # transformers is slow to import, and in ComfyUI only Segment Entities needs this class.
    from transformers import GroundingDinoForObjectDetection

    if path.is_dir():
        _refuse_quantised(path)
        return Network(GroundingDinoForObjectDetection.from_pretrained(path, local_files_only=True))
    return Network(load_original(path))
