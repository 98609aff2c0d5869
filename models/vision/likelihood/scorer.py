"""The interface of captioners that score: pixels and captions in, likelihoods out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...comat.concept_matching import Likelihood


class CaptionScorer(nn.Module, ABC):
    """A frozen captioner: how likely it finds captions of pictures, differentiable to the pixels."""

    @abstractmethod
    def likelihood(self, pictures: Tensor, captions: Sequence[str]) -> Likelihood:
        """Of each caption given its picture: pictures (B, 3, H, W), 0 to 1 but not clamped."""

    def of_each(self, pictures: Tensor, captions: Sequence[Sequence[str]]) -> list[Tensor]:
        """-log p of several captions of each picture, (N,) for each of them; N may be 0."""
        rows = [number for number, some in enumerate(captions) for _ in some]
        if not rows:
            return [pictures.new_zeros(0) for _ in captions]
        flat = [one for some in captions for one in some]
        found = self._of_rows(pictures, rows, flat)
        return list(found.negative.split([len(some) for some in captions]))

    def _of_rows(self, pictures: Tensor, rows: Sequence[int], captions: Sequence[str]) -> Likelihood:
        """Of each caption given the picture of its row; those that can look at a picture once do."""
        return self.likelihood(pictures[list(rows)], captions)

    def train(self, mode: bool = True) -> CaptionScorer:
        """Evaluation mode always: dropout in a captioner would be noise in what it says."""
        return super().train(False)


class FunctionScorer(CaptionScorer):
    """A function of pictures (B, 3, H, W) and captions to -log p of each whole caption, (B,)."""

    def __init__(self, function: Callable[[Tensor, Sequence[str]], Tensor]) -> None:
        super().__init__()
        self.function = function

    def likelihood(self, pictures: Tensor, captions: Sequence[str]) -> Likelihood:
        negative = self.function(pictures, captions)
        if negative.shape != (len(captions),):
            raise ValueError(
                f"the captioner's function returned a tensor of shape {tuple(negative.shape)} for "
                f"{len(captions)} captions; one number for each caption is needed"
            )
        # A function says nothing of tokens: a caption counts as one, and there is nothing to smooth with.
        return Likelihood(negative, negative, torch.ones_like(negative))
