"""Models of published benchmarks from folders or the hub, by the names of the options that name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.vision.checklist import ANSWER_TOKENS
from ...models.vision.interfaces import (
    BoxSegmenter,
    DepthEstimator,
    Detector,
    QuestionAnswerer,
    TextSimilarity,
    YesScorer,
)
from ..benchmark import PlanError


@dataclass(frozen=True)
class LibraryModels:
    """`names` by option (detector, sam, vlm, blip_vqa, clip, depth), None where none is given.

    `batch` pictures or questions run together. Grounding DINO, SAM and CLIP run in float32, as annotation and
    training have them: they are small, and thresholds are near. With `averaging` phrases are found by the
    average of their tokens, as earlier versions found them, for runs that were begun so.
    """

    names: Mapping[str, str | None]
    device: str
    dtype: Any
    batch: int = 1
    averaging: bool = False

    def detector(self, box_threshold: float, text_threshold: float) -> Detector:
        """Grounding DINO, by the rule of annotation."""
        return self._grounding_dino(box_threshold=box_threshold, text_threshold=text_threshold)

    def phrase_detector(self, threshold: float) -> Detector:
        """Grounding DINO, by the surest token of all."""
        from ...models.vision.grounding_dino.noun_rules import highest_average, surest_token

        rule = highest_average if self.averaging else surest_token
        return self._grounding_dino(box_threshold=threshold, text_threshold=threshold, rule=rule)

    def segmenter(self) -> BoxSegmenter:
        """SAM."""
        from ...models.vision.sam import SamInBoxes

        return SamInBoxes.load(Path(self._name("sam")), self.device)

    def judge(self, longest: int = ANSWER_TOKENS) -> QuestionAnswerer:
        """A vision-language model that chats; answers are short, and never drawn at random."""
        from ...models.vision.captioning import TransformersCaptioner

        name = self._name("vlm")
        found = TransformersCaptioner.load(
            name, self.device, self.dtype, most_tokens=longest, batch=self.batch
        )
        if not found.chats:
            raise PlanError(f"--vlm: {name} has no chat template, so that it answers no questions")
        return found

    def yes_scorer(self) -> YesScorer:
        """BLIP for questions."""
        from ...models.vision.question_answering import BlipYesScorer

        return BlipYesScorer.load(self._name("blip_vqa"), self.device, self.dtype, batch=self.batch)

    def similarity(self, cut: bool = False) -> TextSimilarity:
        """CLIP."""
        import torch

        from ...models.vision.similarity import ClipSimilarity

        return ClipSimilarity.load(self._name("clip"), self.device, torch.float32, batch=self.batch, cut=cut)

    def depth(self) -> DepthEstimator:
        """A depth estimator."""
        from ...models.vision.depth import TransformersDepth

        return TransformersDepth.load(self._name("depth"), self.device, self.dtype)

    def _grounding_dino(self, **settings: Any) -> Detector:
        from ...models.vision.grounding_dino.picture_detector import GroundingDino

        return GroundingDino.load(self._name("detector"), self.device, batch=self.batch, **settings)

    def _name(self, option: str) -> str:
        name = self.names.get(option)
        if name is None:
            raise PlanError(f"--{option.replace('_', '-')}: name the model; this stage needs it")
        return name


class UnloadedModels:
    """Models of which none is loaded: asked for one, it raises `AskedError` with the option that names it."""

    def detector(self, box_threshold: float, text_threshold: float) -> Detector:
        """Grounding DINO's option."""
        raise AskedError("detector")

    def phrase_detector(self, threshold: float) -> Detector:
        """Grounding DINO's option."""
        raise AskedError("detector")

    def segmenter(self) -> BoxSegmenter:
        """SAM's option."""
        raise AskedError("sam")

    def judge(self, longest: int = ANSWER_TOKENS) -> QuestionAnswerer:
        """The option of a vision-language model that chats."""
        raise AskedError("vlm")

    def yes_scorer(self) -> YesScorer:
        """The option of BLIP for questions."""
        raise AskedError("blip_vqa")

    def similarity(self, cut: bool = False) -> TextSimilarity:
        """CLIP's option."""
        raise AskedError("clip")

    def depth(self) -> DepthEstimator:
        """The option of a depth estimator."""
        raise AskedError("depth")


class AskedError(Exception):
    """A model is asked for, by the `option` that names it."""

    def __init__(self, option: str) -> None:
        super().__init__(option)
        self.option = option.replace("_", "-")
