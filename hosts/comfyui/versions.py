"""Differences between ComfyUI versions that more than one room has to bridge."""

from __future__ import annotations

try:
    # Newer versions page weights from disk with their own patcher class.
    from comfy.model_patcher import CoreModelPatcher
except ImportError:
    from comfy.model_patcher import ModelPatcher as CoreModelPatcher

Patcher = CoreModelPatcher
