"""ComfyUI's patcher with torch's `meta`, which holds no numbers, as the GPU: loading without a GPU."""

from __future__ import annotations

import copy
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch


class PatcherOnMeta(comfy.model_patcher.ModelPatcher):
    """Loads as any other does. Numbers that come back from `meta` are those of a copy that was kept."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, load_device=torch.device("meta"), offload_device=torch.device("cpu"))
        self.kept = copy.deepcopy(model)

    def unpatch_model(self, device_to=None, unpatch_weights=True):
        if device_to is not None and unpatch_weights:
            for module, kept in zip(self.model.modules(), self.kept.modules(), strict=True):
                for mine, its in ((module._parameters, kept._parameters), (module._buffers, kept._buffers)):
                    mine.update({name: its[name] for name, value in mine.items() if value is not None})
        return super().unpatch_model(device_to, unpatch_weights)

    def load_with(self, budget: float) -> set[str]:
        """Load as ComfyUI does with so many bytes, all of it with 0; returns the devices of the weights."""
        comfy.model_management.LoadedModel(self).model_load(budget)
        return {parameter.device.type for parameter in self.model.parameters()}


def without_memory(monkeypatch) -> None:
    """ComfyUI under --novram, with a device of 1 GiB that has nothing on it."""
    management = comfy.model_management
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NO_VRAM)
    monkeypatch.setattr(
        management,
        "get_free_memory",
        lambda _device=None, torch_free_too=False: (2**30, 2**30) if torch_free_too else 2**30,
    )
    monkeypatch.setattr(management, "current_loaded_models", [])
