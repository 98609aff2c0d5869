"""IFAdapter applied: terms with captions on the conditional prompt, without on the unconditional one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ....layout import Box, Layout, transform
from ....models.ifadapter import IFAdapter, InstancePrompt
from ....models.ifadapter.phrases import Phrases
from ....models.regions import Rectangle, Regions
from ..attention.errors import ModelMismatchError
from ..attention.silhouettes import Growing, check_since
from ..attention.terms import carry
from ..attention.unet.layers import adapted_blocks
from ..attention.unet.presets import preset_blocks
from ..attention.window import check_window, tell_of_ranges
from ..attention.wrappers import bind
from ..regions.captions import encode_captions, tell_of_schedule
from .caption_attention import CaptionAttention
from .phrases import count_passes, encode_phrases
from .term import NODE, AdaptedLayers, InstanceTerm, Part

# Instances in one pass of the resampler; few, because a run can be interrupted between passes alone.
INSTANCES_PER_PASS = 4
# Layers whose attention silhouettes are grown from.
READ = "middle and decoder"

logger = logging.getLogger("instance_composer")


def apply_ifadapter(
    model: Any,
    clip: Any,
    adapter: Any,
    layout: Layout,
    positive: list[Any],
    negative: list[Any],
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    silhouettes_from: float = 0.0,
    tell: Callable[[str], None] = logger.info,
    occlusion: float = 0.0,
) -> tuple[Any, list[Any], list[Any]]:
    """MODEL, positive and negative that place the layout's instances.

    `adapter` is the ModelPatcher of an `IFAdapter`. The negative gets the unconditional tokens of the same
    boxes, as the released code guides, or an instance's own negative where it has one. At strength 0, and
    where there is nothing to place, everything is handed back as it came. From `silhouettes_from` on (0: not
    at all) boxes are silhouettes, and `tell` hears of what size; also of instances that never act in this
    window. `occlusion`, 0 to 1: how much of what is behind an instance of the stack hides where they overlap.
    LayoutError for errors of the layout; warnings go to the log. Source of the method: IFAdapter (arXiv
    2409.08240).
    """
    check_window(start, end, "To switch the adapter off, set strength to 0.")
    if strength == 0.0:
        return model, positive, negative
    check_since(silhouettes_from, (start, end))
    for problem in layout.checked().problems():
        logger.warning("%s", problem)
    if not layout.active:
        return model, positive, negative
    blocks = adapted_blocks(model, adapter.model.config)
    tell_of_schedule(clip)
    conditional, unconditional = prompts = _prompts(clip, adapter, layout)

    ranges = [(instance.id, (instance.start, instance.end)) for instance in layout.active]
    tell = tell_of_ranges(NODE, (start, end), ranges, tell)
    captions = None
    if silhouettes_from:
        names = tuple(instance.caption or instance.id for instance in layout.active)
        growing = Growing(silhouettes_from, names, tell)
        captions = _caption_attention(model, clip, layout, positive, growing)

    def place_in(rectangle: Rectangle) -> Part | None:
        part = transform.crop(layout, Box(*rectangle))
        if not part.active:
            return None
        placed = dict(zip(prompts, _prompts(clip, adapter, part), strict=True))
        return Part(placed, captions and captions.of([instance.id for instance in part.active]))

    layers = AdaptedLayers(adapter.model.gates(), blocks).to(_resting_place())
    term = InstanceTerm(
        layers, conditional, unconditional, strength, (start, end), place_in=place_in, occlusion=occlusion
    )
    term = replace(term, captions=captions, reads=True)
    guidance = replace(term, prompt=unconditional, reads=False)
    return bind(model), carry(positive, term), carry(negative, guidance)


def _caption_attention(
    model: Any, clip: Any, layout: Layout, positive: list[Any], growing: Growing
) -> CaptionAttention:
    captions = encode_captions(clip, layout, positive)
    ids = tuple(instance.id for instance in layout.active)
    return CaptionAttention(ids, captions, preset_blocks(model, READ), growing)


def _prompts(clip: Any, adapter: Any, layout: Layout) -> tuple[InstancePrompt, InstancePrompt]:
    """Keys and values of the captions and of the unconditional branch, where ComfyUI keeps results.

    In the unconditional branch an instance has no words unless it has a negative of its own.
    """
    instances = layout.active
    with_negative = [index for index, instance in enumerate(instances) if instance.negative.strip()]
    captions = [(instance.id, instance.caption) for instance in instances]
    captions += [(f"{instances[index].id} (negative)", instances[index].negative) for index in with_negative]
    resampler_passes = -(-len(captions) // INSTANCES_PER_PASS)
    progress = comfy.utils.ProgressBar(count_passes(len(captions)) + resampler_passes + 2)
    phrases = encode_phrases(clip, captions, lambda: progress.update(1))
    _check_width(phrases, adapter.model)

    comfy.model_management.load_models_gpu([adapter])
    regions = Regions.from_layout(layout)
    boxes = torch.tensor(regions.boxes, dtype=torch.float32, device=adapter.load_device)
    tokens = _instance_tokens(
        adapter.model, phrases, torch.cat((boxes, boxes[with_negative])), lambda: progress.update(1)
    )
    unconditional = adapter.model.unconditional_tokens(boxes, phrases.hidden_states.shape[1])
    unconditional[with_negative] = tokens[len(instances) :]
    prompts: list[InstancePrompt] = []
    for branch in (tokens[: len(instances)], unconditional):
        comfy.model_management.throw_exception_if_processing_interrupted()
        prompts.append(adapter.model.prompt(branch, regions).to(_resting_place()))
        progress.update(1)
    return prompts[0], prompts[1]


def _instance_tokens(
    adapter: IFAdapter, phrases: Phrases, boxes: Tensor, on_pass: Callable[[], None]
) -> Tensor:
    parts: list[Tensor] = []
    for start in range(0, len(boxes), INSTANCES_PER_PASS):
        comfy.model_management.throw_exception_if_processing_interrupted()
        part = slice(start, start + INSTANCES_PER_PASS)
        states, mask, eot = (
            t[part].to(boxes.device) for t in (phrases.hidden_states, phrases.attention_mask, phrases.eot)
        )
        parts.append(adapter.instance_tokens(states, mask, eot, boxes[part]))
        on_pass()
    return torch.cat(parts)


def _check_width(phrases: Phrases, adapter: IFAdapter) -> None:
    width = phrases.eot.shape[-1]
    if width != adapter.config.phrase_width:
        raise ModelMismatchError(
            f"The text encoders of this CLIP give features of width {width}, the adapter was trained on "
            f"{adapter.config.phrase_width}. Connect the CLIP of an SDXL checkpoint."
        )


def _resting_place() -> torch.device:
    return comfy.model_management.intermediate_device()
