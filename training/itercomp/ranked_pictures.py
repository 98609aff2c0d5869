"""What rankings say of whole pictures: better ones become likelier and worse ones less likely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from ..data.comparisons import PreferenceFile
from ..data.errors import SourceError
from ..engine.fingerprint import of_texts


class RankedPrompt(NamedTuple):
    """A prompt, its pictures, each one's number among all, and its advantage: the share of the others it
    beats, less that which beat it, times the weight of the aspect."""

    prompt: str
    pictures: list[Image.Image]
    numbers: list[int]
    advantages: list[float]


class RankedPictures:
    """All rankings of a JSON Lines file, aspect by aspect, whose pictures are (width, height) pixels.

    `weights` are those of the aspects; one of weight 0 is left out. Raises `SourceError` for a line that
    cannot be read, a picture of another size, and where nothing is ranked.
    """

    def __init__(self, path: Path, weights: Mapping[str, float], size: tuple[int, int]) -> None:
        self._files = [
            (PreferenceFile(path, aspect, needed=False), weight)
            for aspect, weight in weights.items()
            if weight
        ]
        self._places = [(file, number, weight) for file, weight in self._files for number in range(len(file))]
        if not self._places:
            asked = ", ".join(aspect for aspect, weight in weights.items() if weight) or "any aspect"
            raise SourceError(f"{path} has no ranking with a difference in {asked}")
        self._numbers: dict[Path, int] = {}
        for file, _ in self._files:
            for picture in file.pictures:
                self._numbers.setdefault(picture, len(self._numbers))
                with Image.open(picture) as opened:
                    if opened.size != size:
                        raise SourceError(
                            f"{picture} has {opened.width} × {opened.height} pixels; the run tunes pictures "
                            f"of {size[0]} × {size[1]}, and ranked ones must be of that size"
                        )

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> RankedPrompt:
        file, place, weight = self._places[number]
        pictures, prompts, pairs, *_ = file[place]
        advantages = [0.0] * len(pictures)
        for _, _, better, worse in pairs:
            advantages[better] += weight / (len(pictures) - 1)
            advantages[worse] -= weight / (len(pictures) - 1)
        numbers = [self._numbers[picture] for picture in file.files(place)]
        return RankedPrompt(prompts[0], pictures, numbers, advantages)

    def describe(self) -> dict[str, Any]:
        """What is ranked and what it weighs."""
        return {"rankings": of_texts(str([file.describe(), weight]) for file, weight in self._files)}


def ranked_loss(
    predicted: Tensor, before: Tensor, target: Tensor, advantages: Tensor, reach: float
) -> Tensor:
    """The mean over noisy latents (B, C, h, w) of what moves predictions `before` towards or from a target.

    Advantages (B,) from -1 to 1 say which. A model that sees many of them moves from what it predicted by
    `reach` times the mean of advantage times what was missing, and no further: the squares hold it there.
    `before` is from the model at the start of the run. Each picture counts by its error before, so that all
    noise levels weigh alike.

    Source: DiffusionNFT (arXiv 2509.16117), whose loss r |v+ - v|² + (1 - r) |v- - v|² this is, but for what
    has no gradient, with r = (1 + advantage) / 2 and beta = 1 / reach.
    """
    moved, missing = (predicted - before) / reach, before - target
    parts = moved.square() + 2 * advantages.view(-1, 1, 1, 1) * moved * missing
    usual = missing.square().mean(dim=(1, 2, 3)).clamp(min=torch.finfo(missing.dtype).tiny)
    return (parts.mean(dim=(1, 2, 3)) / usual).mean()
