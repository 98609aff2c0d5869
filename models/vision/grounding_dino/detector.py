"""The detector: prepared pixels and nouns in, boxes of nouns out, by Grounding DINO (arXiv 2303.05499).

It knows neither where a network comes from nor on which device it is. `picture_detector` gives it Pillow
pictures for the annotation of training data, `hosts/comfyui/segmentation` the pictures of a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .captions import Caption, group_nouns
from .conversion import TEXT_POSITIONS
from .noun_rules import NounRule

Network: TypeAlias = Callable[[Tensor, Sequence[Sequence[int]]], tuple[Tensor, Tensor]]
"""Pixels (B, 3, h, w) and B captions as tokens -> logits (B, Q, T) and boxes (B, Q, 4) cx cy w h in 0..1."""


@dataclass(frozen=True)
class FoundNoun:
    """A noun found in a picture: its index, its box (x0, y0, x1, y1), its score in 0..1.

    Boxes are in fractions of the picture and may reach beyond it, below 0 or above 1.
    """

    noun: int
    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True)
class NounDetector:
    """Boxes of nouns by one network; `rule` decides which noun a box of the network shows, if any.

    `tokenize` gives a text's tokens without start and end, `around` the tokens of start and end,
    `most_tokens` is how many the network reads at once.
    """

    network: Network
    tokenize: Callable[[str], list[int]]
    around: tuple[int, int]
    rule: NounRule
    most_tokens: int = TEXT_POSITIONS

    def groups(self, nouns: Sequence[str]) -> list[list[int]]:
        """Nouns by index, as many at a time as one pass of the network can look for."""
        return group_nouns([self.tokenize(noun) for noun in nouns], self.most_tokens)

    def caption(self, nouns: Sequence[str]) -> Caption:
        """The nouns as the network reads them."""
        return Caption.of([self.tokenize(noun) for noun in nouns], *self.around)

    def find(
        self,
        pixels: Tensor,
        nouns: Sequence[Sequence[str]],
        box_threshold: float,
        text_threshold: float,
    ) -> list[list[FoundNoun]]:
        """Boxes of nouns in a batch: pixels (B, 3, h, w), and for each picture its own list of nouns.

        The nouns of a picture have to fit into one pass, as those of one of the `groups` do.
        """
        captions = [self.caption(some) for some in nouns]
        with torch.no_grad():
            logits, boxes = self.network(pixels, [caption.ids for caption in captions])
        scores, boxes = logits.float().cpu().sigmoid(), boxes.float().cpu()
        return [
            [
                FoundNoun(noun, corners(boxes[row, query].tolist()), score)
                for query, noun, score in self.rule(scores[row], caption, box_threshold, text_threshold)
            ]
            for row, caption in enumerate(captions)
        ]


def corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    """A box by its centre, width and height -> its left, top, right and bottom."""
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
