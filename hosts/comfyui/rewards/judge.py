"""Checklist judge under ComfyUI's memory management: a vision-language model that answers about a layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from torch import Tensor, nn

from ....layout import Layout
from ....models.vision.captioning import TransformersCaptioner
from ....models.vision.checklist import ANSWER_TOKENS, Checked, check
from ....models.vision.interfaces import ModelError
from ..conversions import images_from
from ..loading import load_whole
from .judge_folder import judge_path
from .score import DTYPES, CompositionScores

_BATCH = 4
# Memory of a question's activations, in bytes for each byte of the model's weights.
_ACTIVATIONS = 0.2
# No answers are told of so many pictures; the best of a large batch are not read one by one.
_TOLD = 16


class _Held(nn.Module):
    """A model of transformers, whose `device` cannot be set, in a module whose can, as the patcher does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


@dataclass(frozen=True)
class ChecklistJudge:
    """The other value of the socket COMPOSITION_REWARDS: a model that chats, in ComfyUI's care."""

    patcher: Any
    answerer: TransformersCaptioner


def load_judge(folder: str, dtype: str) -> ChecklistJudge:
    """The model of a folder below `models/vision_language_models`, in its own precision or one of `DTYPES`.

    On a CPU always in full precision. Raises FileNotFoundError for a name that leads anywhere else,
    `ModelError` for what is no model that chats about pictures. Nothing is fetched.
    """
    device = comfy.model_management.get_torch_device()
    own = torch.float32 if comfy.model_management.is_device_cpu(device) else "auto"
    answerer = TransformersCaptioner.load(
        str(judge_path(folder)),
        "cpu",
        DTYPES.get(dtype, own),
        option="folder",
        most_tokens=ANSWER_TOKENS,
        batch=_BATCH,
    )
    if not answerer.chats:
        raise ModelError(
            f"{folder} has no chat template, so that it answers no questions; take a model that chats, such "
            "as Qwen2-VL-2B-Instruct"
        )
    patcher = comfy.model_patcher.ModelPatcher(
        _Held(answerer.model),
        load_device=device,
        offload_device=comfy.model_management.unet_offload_device(),
    )
    return ChecklistJudge(patcher, answerer)


def check_pictures(judge: ChecklistJudge, images: Tensor, layout: Layout) -> CompositionScores:
    """Shares of yes for each picture of an IMAGE (B, H, W, 3), by the aspects of the questions.

    ValueError for a layout with errors, or with nothing to ask about.
    """
    layout = layout.checked()
    load_whole(judge.patcher, round(_ACTIVATIONS * judge.patcher.model_size()))
    progress = comfy.utils.ProgressBar(len(images))
    found: list[Checked] = []
    for picture in images_from(images):
        comfy.model_management.throw_exception_if_processing_interrupted()
        found.append(check(picture, layout, judge.answerer))
        progress.update(1)
    aspects = [aspect for aspect in found[0].shares if all(aspect in one.shares for one in found)]
    shares = {aspect: torch.tensor([one.shares[aspect] for one in found]) for aspect in aspects}
    return CompositionScores(shares, shares, remarks=_denied(found))


def _denied(found: Sequence[Checked]) -> str:
    """What was answered with no, picture by picture."""
    lines = [
        f"picture {number}: {'; '.join(denied)}"
        for number, one in enumerate(found, 1)
        if (denied := [question.short for question in one.denied])
    ]
    if not lines:
        return "The judge answered every question with yes."
    more = [f"… and {len(lines) - _TOLD} more"] if len(lines) > _TOLD else []
    return "\n".join(["Answered with no:", *lines[:_TOLD], *more])
