"""Masks of nouns in pictures: boxes by Grounding DINO, what is in them by SAM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ...layout import Box
from ..weights import open_weights
from .grounding_dino.noun_rules import exact_phrase
from .grounding_dino.picture_detector import GroundingDino
from .interfaces import Detection, Detector, ModelError
from .sam import activation_bytes, build_sam


class GroundedSegmenter:
    """A `Segmenter`: a noun's mask is all that SAM sees in the boxes a `Detector` finds for it.

    Source: CoMat (arXiv 2404.03653), which calls it Grounded SAM; its released code has FastSAM for SAM.
    """

    def __init__(self, detector: Detector, sam: Any) -> None:
        self.detector, self.sam = detector, sam

    @classmethod
    def load(cls, detector: str, sam: Path, box_threshold: float, text_threshold: float) -> GroundedSegmenter:
        """From files or names on the hub; `ModelError` and `CheckpointError` for what does not fit."""
        if not sam.is_file():
            raise ModelError(f"--segmenter: there is no file {sam}; a checkpoint of SAM is needed")
        found = GroundingDino.load(
            detector, box_threshold=box_threshold, text_threshold=text_threshold, rule=exact_phrase
        )
        weights = open_weights([sam])
        return cls(found, build_sam({name: weights.read(name).clone() for name in weights}, sam.name))

    def models(self) -> dict[str, nn.Module]:
        """SAM and, where it has one, the detector's model."""
        model = getattr(self.detector, "model", None)
        return {"sam": self.sam, **({"detector": model} if isinstance(model, nn.Module) else {})}

    def bytes_of_a_pass(self) -> int:
        """What SAM holds besides its weights while it looks at a picture."""
        return activation_bytes(self.sam)

    def rehearse(self, pictures: Tensor, nouns: Sequence[Sequence[str]]) -> None:
        """What `masks` does where each picture shows one of its nouns: SAM is asked, whatever is found."""
        self.masks(pictures, nouns)
        bytes_ = _as_bytes(pictures)
        for picture, words in zip(bytes_, nouns, strict=True):
            self._segment(picture, words, [Detection(word, Box(0, 0, 1, 1), 1.0) for word in words[:1]])

    def masks(self, pictures: Tensor, nouns: Sequence[Sequence[str]]) -> list[Tensor | None]:
        """Masks (E, H, W) for each picture's nouns; empty for what is not found."""
        self._move(pictures.device)
        bytes_ = _as_bytes(pictures)
        detections = self.detector.detect([Image.fromarray(one) for one in bytes_], nouns)
        return [
            self._segment(picture, words, found)
            for picture, words, found in zip(bytes_, nouns, detections, strict=True)
        ]

    def _segment(self, picture: Any, words: Sequence[str], found: Sequence[Detection]) -> Tensor:
        height, width = picture.shape[:2]
        masks = torch.zeros(len(words), height, width, dtype=torch.bool)
        if not found:
            return masks
        from segment_anything import SamPredictor

        predictor = SamPredictor(self.sam)
        predictor.set_image(picture)
        corners = torch.tensor([_inside(one.box) for one in found]) * torch.tensor([width, height] * 2)
        prompts = predictor.transform.apply_boxes_torch(corners, (height, width)).to(predictor.device)
        with torch.no_grad():
            parts, _, _ = predictor.predict_torch(None, None, boxes=prompts, multimask_output=False)
        for one, part in zip(found, parts[:, 0].cpu(), strict=True):
            for index, word in enumerate(words):
                if word == one.word:
                    masks[index] |= part
        return masks

    def _move(self, device: torch.device) -> None:
        for module in self.models().values():
            module.to(device)


def _as_bytes(pictures: Tensor) -> Any:
    """Pictures (B, 3, H, W), 0 to 1, as an array (B, H, W, 3) of bytes."""
    return (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _inside(box: Box) -> list[float]:
    return [min(max(value, 0.0), 1.0) for value in box]
