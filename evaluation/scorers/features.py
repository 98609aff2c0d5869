"""Features of a picture, in which its likeness to real ones is measured (as KID measures it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray


class PictureFeatures:
    """Mean and deviation over the picture of every channel in the last hidden layer of the demo's encoder.

    That layer was trained to tell pictures of this world apart well enough to draw them again, edges, marks
    and colours included; averages over the picture make it indifferent to where things are, so that quality
    is measured apart from placement.
    """

    def __init__(self, model: Path) -> None:
        loaded: Any = AutoencoderKL.from_pretrained(model / "vae", torch_dtype=torch.float32)
        self._encoder: Any = loaded.eval().requires_grad_(False).encoder

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Features (2 × channels) of a picture (height, width, 3)."""
        seen: list[torch.Tensor] = []
        handle = self._encoder.conv_act.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
        try:
            self._encoder(torch.from_numpy(image[None]).permute(0, 3, 1, 2).float() / 127.5 - 1)
        finally:
            handle.remove()
        (hidden,) = seen[-1]
        return torch.cat((hidden.mean(dim=(1, 2)), hidden.std(dim=(1, 2)))).double().numpy()
