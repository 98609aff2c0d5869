"""Whole models on one device: detectors, segmenters and rewards, whose layers are not ComfyUI's own.

ComfyUI's layers fetch weights that were left in main memory when they are used. Those of other libraries
compute where their weights are: a model of them needs all of its weights and its inputs on one device.
"""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import torch

logger = logging.getLogger("instance_composer")


def load_whole(patcher: Any, memory: float) -> torch.device:
    """Load a ModelPatcher with room for `memory` bytes of activations; returns the device for its inputs."""
    comfy.model_management.load_models_gpu([patcher], memory_required=memory, force_full_load=True)
    return gather(patcher)


def gather(patcher: Any) -> torch.device:
    """The device of all weights; those of a model that was loaded in part go back to main memory first.

    ComfyUI loads in part, whatever it is asked, under --novram. A run that is slow for it is told in the log.
    """
    if len({parameter.device for parameter in patcher.model.parameters()}) > 1:
        patcher.detach()
    device = next(patcher.model.parameters()).device
    if device.type != patcher.load_device.type:
        logger.warning(
            "%s was not loaded whole onto %s and cannot run in parts, so it runs on %s, which is slower. "
            "Start ComfyUI without --novram, or free memory, to change that.",
            type(patcher.model).__name__,
            patcher.load_device,
            device,
        )
    return device
