"""Masks of things in pictures of Shapes World, by its judge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...models.vision.interfaces import Segmenter
from ...shapes_world.judge import read_things


class WorldSegmenter:
    """A `Segmenter` of Shapes World: a noun's mask is all things of that shape, whatever their colour."""

    def masks(self, pictures: Tensor, nouns: Sequence[Sequence[str]]) -> list[Tensor | None]:
        """Masks (E, H, W) for each picture's nouns; empty for what it does not show."""
        found: list[Tensor | None] = []
        pixels = (pictures * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for picture, words in zip(pixels, nouns, strict=True):
            masks = torch.zeros(len(words), *picture.shape[:2], dtype=torch.bool)
            for thing in read_things(picture) if words else ():
                for index, word in enumerate(words):
                    if thing.shape == word:
                        masks[index] |= torch.from_numpy(thing.mask)
            found.append(masks)
        return found


def models_of(segmenter: Segmenter | None) -> dict[str, nn.Module]:
    """The models by which a segmenter finds masks, by name, that are no part of the objective as they are.

    None where it does not say, and where it is a module, which the objective holds as its own.
    """
    if isinstance(segmenter, nn.Module) or not hasattr(segmenter, "models"):
        return {}
    return segmenter.models()  # type: ignore[union-attr]
