"""Segmentation of a prompt's entities in a picture: Grounding DINO finds the nouns, SAM their outlines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ....layout import Canvas, Instance, Layout
from ....models.entities.extraction import Entity
from ..conversions import run_length
from ..prompts.entities import PromptEntities
from .detect import DEFAULT_BACKEND, Detector, load_detector
from .sam import load_segmenter, segment

logger = logging.getLogger("instance_composer")


@dataclass(frozen=True)
class Thresholds:
    """Least score of a box, and of a word to belong to its phrase. Values of CoMat (arXiv 2404.03653)."""

    box: float = 0.3
    text: float = 0.25


def segment_entities(
    picture: Tensor,
    entities: PromptEntities,
    detector: Path,
    segmenter: Path,
    thresholds: Thresholds | None = None,
    backend: str = DEFAULT_BACKEND,
) -> tuple[Layout, Tensor]:
    """The layout of the entities that were found in a picture (H, W, 3), and a MASK (N, H, W) of all.

    Nouns alone are looked for, since attributes may sit on the wrong thing. What is found of a noun is one
    region; entities with the same noun share it. The MASK has one for each entity that can have a place, in
    their order, empty for what is missing.
    """
    thresholds = thresholds or Thresholds()
    places = [one.entity for one in entities.entities if one.entity.localisable]
    height, width = picture.shape[:2]
    if not places:
        logger.warning("The prompt has no entities that a picture could show: %.80s", entities.prompt)
        return Layout((), Canvas(width, height), entities.prompt), torch.zeros(1, height, width)
    nouns = list(dict.fromkeys(entity.noun for entity in places))
    regions = _find(picture, nouns, load_detector(detector, backend), segmenter, thresholds)
    masks = torch.stack([regions[nouns.index(entity.noun)] for entity in places])
    missing = [noun for noun, region in zip(nouns, regions, strict=True) if not region.any()]
    if missing:
        logger.warning("Not found in the picture: %s.", ", ".join(missing))
    return Layout(_instances(places, masks), Canvas(width, height), entities.prompt), masks.float()


def _find(
    picture: Tensor, nouns: Sequence[str], detector: Detector, segmenter: Path, thresholds: Thresholds
) -> Tensor:
    """The region of each noun: (number of nouns, H, W), bool."""
    passes = detector.count_passes(nouns)
    progress = comfy.utils.ProgressBar(passes + 1)
    detections = detector.detect(picture, nouns, thresholds.box, thresholds.text, lambda: progress.update(1))
    regions = torch.zeros(len(nouns), *picture.shape[:2], dtype=torch.bool)
    if detections:
        comfy.model_management.throw_exception_if_processing_interrupted()
        masks = segment(load_segmenter(segmenter), picture, [one.box for one in detections])
        for detection, mask in zip(detections, masks, strict=True):
            regions[detection.noun] |= mask
    progress.update(1)
    return regions


def _instances(entities: Sequence[Entity], masks: Tensor) -> tuple[Instance, ...]:
    made: list[Instance] = []
    for entity, mask in zip(entities, masks, strict=True):
        if not mask.any():
            continue
        shape = run_length(mask)
        # Named by noun and number, so that an instance keeps its name from picture to picture.
        name = entity.noun.replace(" ", "-") + (f"-{entity.number}" if entity.number > 1 else "")
        made.append(Instance(name, shape.bounds, caption(entity), mask=shape))
    return tuple(made)


def caption(entity: Entity) -> str:
    """The entity's words in the order of the prompt."""
    return " ".join(word.text for word in entity.words)
