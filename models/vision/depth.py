"""Depth of pictures by a model of the transformers library, such as DPT (arXiv 2103.13413)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation

from .interfaces import ModelError
from .loading import DTYPE, find_model, loaded

_OPTION = "--depth"
# Models whose values are distances: larger is farther, which is turned round.
_DISTANCES = ("glpn", "zoedepth", "depth_pro")
_NEARNESS = ("dpt", "depth_anything")


class TransformersDepth:
    """A `DepthEstimator`, each picture stretched to 0 (farthest) to 1 (nearest) for itself."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval().requires_grad_(False), processor
        self._far = model.config.model_type in _DISTANCES

    @classmethod
    def load(cls, name: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> TransformersDepth:
        """Read a folder or fetch a name from the hub; `ModelError` for what is not there or no such model."""
        source = find_model(name, _OPTION)
        kind = loaded(name, _OPTION, lambda: AutoConfig.from_pretrained(source)).model_type
        if kind not in (*_NEARNESS, *_DISTANCES):
            known = ", ".join((*_NEARNESS, *_DISTANCES))
            raise ModelError(f"{_OPTION}: {name} is a {kind} model; one of these kinds is needed: {known}")
        model = loaded(
            name, _OPTION, lambda: AutoModelForDepthEstimation.from_pretrained(source, **{DTYPE: dtype})
        )
        processor = loaded(name, _OPTION, lambda: AutoImageProcessor.from_pretrained(source))
        return cls(model.to(device), processor)

    def depths(self, pictures: Sequence[Image], side: int | None = None) -> list[Tensor]:
        """A map (h, w) for each picture, on the CPU; one picture at a time, since sizes differ.

        With a `side` models of DPT's kind look at `side` × `side` pixels in place of what their folder says.
        """
        return [self._depth(picture, side) for picture in pictures]

    @torch.inference_mode()
    def _depth(self, picture: Image, side: int | None) -> Tensor:
        square: dict[str, Any] = {}
        if side is not None and not self._far:
            square = {"size": {"height": side, "width": side}, "keep_aspect_ratio": False}
        pixels = self.processor(images=[picture], return_tensors="pt", **square)["pixel_values"]
        found = self.model(pixel_values=pixels.to(self.model.device, self.model.dtype), return_dict=True)
        depth = found.predicted_depth.float()[None]
        size = picture.height, picture.width
        whole = F.interpolate(depth, size, mode="bicubic", align_corners=False)[0, 0]
        low, high = whole.min(), whole.max()
        # A picture without depth stays at 0 everywhere.
        spread = torch.where(high > low, high - low, 1)
        stretched = (whole - low) / spread
        return (1 - stretched if self._far else stretched).cpu()
