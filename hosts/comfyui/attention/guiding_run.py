"""The run of the model that a guiding term makes beside a step's own evaluation."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from .terms import KEY


def guiding_options(model_options: Mapping[str, Any]) -> dict[str, Any]:
    """model_options without other packs' wrappers around the diffusion model, and for one device.

    Most of those are caches (EasyCache, TeaCache): they would answer a run whose attention has to be read, or
    keep what it gives back, which is nothing. On several devices ComfyUI runs each part in a thread of its
    own, without gradients.
    """
    options = model_options["transformer_options"]
    wrappers = options["wrappers"]
    around = wrappers.get(WrappersMP.DIFFUSION_MODEL, {})
    own = {key: found for key, found in around.items() if str(key).startswith(KEY)}
    kept = {**wrappers, WrappersMP.DIFFUSION_MODEL: own}
    on_one_device = {key: value for key, value in model_options.items() if key != "multigpu_clones"}
    return {**on_one_device, "transformer_options": {**options, "wrappers": kept}}


def guiding_conditioning(cond: Mapping[str, Any]) -> dict[str, Any]:
    """A conditioning whose ControlNets are constants of the run.

    A gradient through them would keep the activations of a second encoder.
    """
    control = cond.get("control")
    if control is None:
        return dict(cond)
    constant = copy.copy(control)
    constant.get_control = torch.no_grad()(control.get_control)
    return {**cond, "control": constant}
