"""What rankings say of whole pictures: better ones become likelier and worse ones less likely."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from ..data.comparisons import PreferenceFile, open_picture
from ..data.errors import SourceError
from ..engine.fingerprint import of_texts


class RankedPrompt(NamedTuple):
    """A prompt, its pictures, each one's number among all, and its advantage: the share of the others it
    beats, less that which beat it, times the weight of the aspect, summed over aspects."""

    prompt: str
    pictures: list[Image.Image]
    numbers: list[int]
    advantages: list[float]


class RankedPictures:
    """All rankings of a JSON Lines file whose pictures are (width, height) pixels.

    `weights` are those of the aspects; one of weight 0 is left out, and so are rankings of prompts that are
    `held_out`, of which `left_out` is the number. Aspects that rank the same pictures of a
    prompt are taken together, so that each picture is looked at once for all of them. Raises `SourceError`
    for a line that cannot be read, a picture of another size, and where nothing is ranked.
    """

    def __init__(
        self,
        path: Path,
        weights: Mapping[str, float],
        size: tuple[int, int],
        held_out: Set[str] = frozenset(),
    ) -> None:
        self._files = [
            (PreferenceFile(path, aspect, needed=False), weight)
            for aspect, weight in weights.items()
            if weight
        ]
        found: dict[tuple[str, tuple[Path, ...]], list[float]] = {}
        for preferences, weight in self._files:
            for prompt, pictures, pairs in preferences.rankings:
                advantages = found.setdefault((prompt, tuple(pictures)), [0.0] * len(pictures))
                for better, worse in pairs:
                    advantages[better] += weight / (len(pictures) - 1)
                    advantages[worse] -= weight / (len(pictures) - 1)
        self._rankings = [one for one in found.items() if one[0][0] not in held_out]
        self.left_out = len(found) - len(self._rankings)
        if not self._rankings:
            asked = ", ".join(aspect for aspect, weight in weights.items() if weight) or "any aspect"
            held = f", but for {self.left_out} of held-out prompts" if self.left_out else ""
            raise SourceError(f"{path} has no ranking with a difference in {asked}{held}")
        self._numbers: dict[Path, int] = {}
        for (_, pictures), _ in self._rankings:
            for picture in pictures:
                self._numbers.setdefault(picture, len(self._numbers))
        for picture in self._numbers:
            with Image.open(picture) as opened:
                if opened.size != size:
                    raise SourceError(
                        f"{picture} has {opened.width} × {opened.height} pixels; the run tunes pictures "
                        f"of {size[0]} × {size[1]}, and ranked ones must be of that size"
                    )

    def __len__(self) -> int:
        return len(self._rankings)

    def __getitem__(self, number: int) -> RankedPrompt:
        (prompt, files), advantages = self._rankings[number]
        numbers = [self._numbers[file] for file in files]
        return RankedPrompt(prompt, [open_picture(file) for file in files], numbers, advantages)

    def describe(self) -> dict[str, Any]:
        """What is ranked and what it weighs."""
        return {"rankings": of_texts(str([file.describe(), weight]) for file, weight in self._files)}


def ranked_loss(
    predicted: Tensor, before: Tensor, target: Tensor, advantages: Tensor, reach: float
) -> Tensor:
    """The mean over noisy latents (B, C, h, w) of what moves predictions `before` towards or from a target.

    Advantages (B,) say which; for one aspect of weight 1 they are from -1 to 1. A model that sees many of
    them moves from what it predicted by `reach` times the mean of advantage times what was missing, and no
    further: the squares hold it there. `before` is from the model at the start of the run. Each picture
    counts by its error before, so that all noise levels weigh alike.

    Source: DiffusionNFT (arXiv 2509.16117), whose loss r |v+ - v|² + (1 - r) |v- - v|² this is, but for what
    has no gradient, with r = (1 + advantage) / 2 and beta = 1 / reach.
    """
    moved, missing = (predicted - before) / reach, before - target
    parts = moved.square() + 2 * advantages.view(-1, 1, 1, 1) * moved * missing
    usual = missing.square().mean(dim=(1, 2, 3)).clamp(min=torch.finfo(missing.dtype).tiny)
    return (parts.mean(dim=(1, 2, 3)) / usual).mean()
