"""Features of a picture, in which its likeness to real ones is measured (the kernel distance KID)."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from ...layout import Layout
from ..benchmark import Pixels
from ..scenes import Scenes
from ..statistics import Floats

# Digits of a feature that are kept; the judge's own noise is far above.
_DIGITS = 5


class PictureFeatures:
    """Mean and deviation over the picture of every channel in the last hidden layer of the demo's encoder.

    That layer was trained to tell pictures of this world apart well enough to draw them again, edges, marks
    and colours included; averages over the picture make it indifferent to where things are, so that quality
    is measured apart from placement. The model is loaded for the first picture.
    """

    def __init__(self, model: Path) -> None:
        self._model = model

    def __call__(self, picture: Pixels, _: Layout) -> dict[str, Any]:
        """`features` of a picture (height, width, 3), as plain JSON values."""
        return {"features": [float(f"{value:.{_DIGITS}g}") for value in self.of(picture)]}

    @torch.no_grad()
    def of(self, picture: Pixels) -> Floats:
        """Features (2 × channels) of a picture (height, width, 3)."""
        seen: list[torch.Tensor] = []
        handle = self._encoder.conv_act.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
        try:
            self._encoder(torch.from_numpy(picture[None]).permute(0, 3, 1, 2).float() / 127.5 - 1)
        finally:
            handle.remove()
        (hidden,) = seen[-1]
        return torch.cat((hidden.mean(dim=(1, 2)), hidden.std(dim=(1, 2)))).double().numpy()

    def reference(self, scenes: Scenes, count: int, file: Path) -> Floats:
        """Features (count, d) of real renders of other scenes; made once and kept in `file`, a .npy."""
        known = np.load(file) if file.is_file() else np.zeros((0, 0))
        if len(known) < count:
            known = np.stack([self.of(scenes.reference(number).image) for number in range(count)])
            unfinished = file.with_name(f".unfinished-{os.getpid()}.npy")
            np.save(unfinished, known)
            unfinished.replace(file)
        return known[:count]

    @cached_property
    def _encoder(self) -> Any:
        loaded: Any = AutoencoderKL.from_pretrained(self._model / "vae", torch_dtype=torch.float32)
        return loaded.eval().requires_grad_(False).encoder
