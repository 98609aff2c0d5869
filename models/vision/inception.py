"""Inception V3 as FID and KID have it (arXiv 1706.08500, 1801.01401), by the library torch-fidelity.

Its weights are TensorFlow's of 2015, converted; another Inception gives other distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from PIL.Image import Image, Resampling
from torch import Tensor, nn

from ..finite import require_finite
from ..weights import CheckpointError, read_tensors
from .interfaces import ModelError

OPTION = "--inception"
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
# How a picture gets the side that the network reads. Distances depend on it (arXiv 2104.11222).
BICUBIC, TENSORFLOW = "bicubic", "tensorflow"
SIDE, WIDTH = 299, 2048
_LAYER = str(WIDTH)
_BATCH = 16
HOW_TO_INSTALL = "FID and KID need torch-fidelity: pip install torch-fidelity"
_WHERE = (
    f"{WEIGHTS} is needed, from https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0; nothing is "
    "fetched while this runs"
)


class InceptionFeatures:
    """Features (2048) of pictures, in float32 whatever else runs in halves.

    `resizing`: "bicubic" resizes as clean-fid does, each channel by Pillow with its filter widened, and
    rounds to 8 bits; "tensorflow" as the first FID did, bilinear without a wider filter.
    """

    def __init__(self, network: nn.Module, resizing: str = BICUBIC, batch: int = _BATCH) -> None:
        self._network, self._resizing, self._batch = network, resizing, batch

    @classmethod
    def load(
        cls, file: Path, device: str = "cpu", resizing: str = BICUBIC, batch: int = _BATCH
    ) -> InceptionFeatures:
        """Read the weights; `ModelError` or `CheckpointError` for what is not there or no such file."""
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ModelError(HOW_TO_INSTALL) from error
        if not file.is_file():
            raise ModelError(f"{OPTION}: there is no file {file}; {_WHERE}")
        try:
            state = read_tensors(file)
        except CheckpointError as error:
            raise CheckpointError(f"{OPTION}: {error} {_WHERE}.") from error
        require_finite(state, file.name)
        try:
            # The library reads a file without care for what is in it: it gets tensors that were read safely.
            network = FeatureExtractorInceptionV3("inception", [_LAYER], _as_file(state))
        except RuntimeError as error:
            raise CheckpointError(
                f"{OPTION}: {file.name} has not the weights of that network; {_WHERE}."
            ) from error
        return cls(network.to(device), resizing, batch)

    @torch.inference_mode()
    def features(self, pictures: Sequence[Image]) -> Tensor:
        """Features (N, 2048) on the CPU. Pictures of one size run together."""
        found = torch.empty(len(pictures), WIDTH)
        for size in dict.fromkeys(one.size for one in pictures):
            places = [place for place, one in enumerate(pictures) if one.size == size]
            for first in range(0, len(places), self._batch):
                some = places[first : first + self._batch]
                found[some] = self._of([pictures[place] for place in some])
        return found

    def _of(self, pictures: Sequence[Image]) -> Tensor:
        shown = _bicubic if self._resizing == BICUBIC else _as_it_is
        pixels = torch.stack([shown(one.convert("RGB")) for one in pictures])
        device = next(self._network.parameters()).device
        return self._network(pixels.to(device))[0].cpu()


def _as_it_is(picture: Image) -> Tensor:
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1)


def _bicubic(picture: Image) -> Tensor:
    resized = [one.convert("F").resize((SIDE, SIDE), Resampling.BICUBIC) for one in picture.split()]
    channels = [torch.frombuffer(bytearray(one.tobytes()), dtype=torch.float32) for one in resized]
    return torch.stack(channels).view(3, SIDE, SIDE).clamp(0, 255).round().to(torch.uint8)


def _as_file(state: dict[str, Tensor]) -> BytesIO:
    file = BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file
