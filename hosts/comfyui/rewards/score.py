"""Composition rewards under ComfyUI's memory management: the value of their socket, scores, the best."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from torch import Tensor

from ....models.rewards import (
    RewardModel,
    RewardTokenizer,
    find_tokenizer,
    prepare_pictures,
    rank,
    read_reward,
)
from ..conversions import images_from
from ..loading import load_whole

logger = logging.getLogger("instance_composer")

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_AT_ONCE = 8
# Memory of a picture's activations, in tensors of its tokens times the width that exist at once.
_LAYERS_ALIVE = 24


@dataclass(frozen=True)
class CompositionReward:
    """One aspect: a reward model in ComfyUI's care and its tokenizer."""

    patcher: Any
    tokenizer: RewardTokenizer


@dataclass(frozen=True)
class CompositionRewards:
    """The value of the socket COMPOSITION_REWARDS: a reward for each loaded aspect."""

    aspects: Mapping[str, CompositionReward]


@dataclass(frozen=True)
class CompositionScores:
    """Scores (B,) by aspect on a common scale, `raw` as the models give them; `remarks` are for the user."""

    normalized: dict[str, Tensor]
    raw: dict[str, Tensor]
    remarks: str = ""


def load_rewards(files: Mapping[str, Path], dtype: str) -> CompositionRewards:
    """Reward models by aspect, in the precision of their files or another of `DTYPES`.

    Raises `CheckpointError` for a file that is not a whole reward model, or lacks its vocabulary.
    """
    return CompositionRewards({aspect: _load(path, DTYPES.get(dtype)) for aspect, path in files.items()})


def _load(path: Path, dtype: torch.dtype | None) -> CompositionReward:
    state, metadata = read_reward(path)
    device = comfy.model_management.get_torch_device()
    kept = {key: _cast(value, dtype, device) for key, value in state.items()}
    model = RewardModel.from_state_dict(kept, metadata)
    tokenizer = find_tokenizer(path, metadata, model.config.vocabulary, model.config.tokens)
    offload = comfy.model_management.unet_offload_device()
    # ComfyUI's patcher that pages weights from disk needs ComfyUI's own layers, and these are transformers'.
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload)
    return CompositionReward(patcher, tokenizer)


def _cast(value: Tensor, dtype: torch.dtype | None, device: torch.device) -> Tensor:
    """In the wished precision; without a wish the file's own, full precision on a CPU."""
    own = torch.float32 if comfy.model_management.is_device_cpu(device) else value.dtype
    return value.to(dtype or own)


def score_pictures(rewards: CompositionRewards, images: Tensor, text: str) -> CompositionScores:
    """Scores of each picture of an IMAGE (B, H, W, 3) for a text, in every loaded aspect.

    Text beyond what a model reads is logged as a warning, and is in the remarks.
    """
    progress = comfy.utils.ProgressBar(len(images) * len(rewards.aspects))
    normalized: dict[str, Tensor] = {}
    raw: dict[str, Tensor] = {}
    cuts: dict[str, tuple[int, str]] = {}
    for aspect, reward in rewards.aspects.items():
        raw[aspect], cut = _score(reward, images, text, progress)
        config = reward.patcher.model.config
        cuts[aspect] = (config.tokens - 2, cut)  # two of them are the start and the end
        normalized[aspect] = (raw[aspect] - config.mean) / config.std
    remarks = _not_read(cuts)
    for remark in remarks:
        logger.warning("%s", remark)
    return CompositionScores(normalized, raw, "\n".join(remarks))


def _not_read(cuts: Mapping[str, tuple[int, str]]) -> list[str]:
    """What of a text was not read, from the word pieces that each aspect reads and what it cut off."""
    if len(set(cuts.values())) == 1:
        ((pieces, cut),) = set(cuts.values())
        return [f"Not read, because the models read {pieces} word pieces: {cut}"] if cut else []
    return [
        f"Not read in {aspect}, because its model reads {pieces} word pieces: {cut}"
        for aspect, (pieces, cut) in cuts.items()
        if cut
    ]


def _score(reward: CompositionReward, images: Tensor, text: str, progress: Any) -> tuple[Tensor, str]:
    model = reward.patcher.model
    config = model.config
    tokens = (config.image_size // config.patch_size) ** 2 + 1
    memory = 4 * min(len(images), _AT_ONCE) * tokens * config.vision_width * _LAYERS_ALIVE
    device = load_whole(reward.patcher, memory)
    prompt = reward.tokenizer([text])
    parts: list[Tensor] = []
    for part in images.split(_AT_ONCE):
        comfy.model_management.throw_exception_if_processing_interrupted()
        pixels = prepare_pictures(images_from(part), config.image_size).to(device)
        words = (value.expand(len(part), -1).to(device) for value in prompt[:2])
        parts.append(model.raw_score(pixels, *words).cpu())
        progress.update(len(part))
    return torch.cat(parts), prompt.cut[0]


def score_table(scores: CompositionScores, combined: Tensor) -> str:
    """A table of text, the best picture first: place, number of the picture from 1, scores (raw rewards)."""
    names = [*scores.normalized]
    rows = [["place", "picture", "score", *names]]
    for place, number in enumerate(rank(combined), 1):
        cells = (
            f"{_number(scores.normalized[name][number])} ({_number(scores.raw[name][number])})"
            for name in names
        )
        rows.append([str(place), str(number + 1), _number(combined[number]), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def _number(value: Tensor) -> str:
    return "no number" if value.isnan() else f"{float(value):+.3f}"


def pick(scores: Tensor, count: int, images: Tensor | None, latent: Mapping[str, Any] | None) -> list[int]:
    """Positions of the `count` best of scores (N,), best first; pictures and latents must be as many.

    ValueError also where no score is a number.
    """
    for name, given in (("pictures", images), ("latents", None if latent is None else latent["samples"])):
        if given is not None and len(given) != len(scores):
            raise ValueError(f"there are {len(scores)} scores, but {len(given)} {name}; they must be as many")
    if len(scores) and scores.isnan().all():
        raise ValueError(
            "none of the scores is a number, as where the model of an aspect is not loaded; connect others"
        )
    return rank(scores)[:count]


def select_latents(latent: Mapping[str, Any], chosen: list[int]) -> dict[str, Any]:
    """A LATENT of some of its pictures; masks and noise numbers, where it has them, are theirs."""
    count = len(latent["samples"])
    selected = {**latent, "samples": latent["samples"][chosen]}
    mask = latent.get("noise_mask")
    # One mask serves all; fewer than the pictures come round again.
    if mask is not None and len(mask) > 1:
        selected["noise_mask"] = mask[[place % len(mask) for place in chosen]]
    # The numbers of the pictures in their batch choose their noise: without them a second pass would draw the
    # noise of the first pictures.
    numbers = latent.get("batch_index", list(range(count)))
    selected["batch_index"] = [numbers[place] for place in chosen]
    return selected
