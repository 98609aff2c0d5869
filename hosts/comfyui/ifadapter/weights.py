"""IFAdapter weights under ComfyUI's memory management."""

from __future__ import annotations

from os import PathLike

import comfy.model_management
import comfy.model_patcher
import comfy.ops

from ....models.ifadapter import IFAdapter, read_checkpoint
from ..versions import Patcher


def load_adapter(
    path: str | PathLike[str], disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """An IFAdapter in the file's own precision, loaded and offloaded by ComfyUI like any model.

    `disable_dynamic` is for ComfyUI's own reloading. Raises `CheckpointError` for a file that is not a whole
    IFAdapter.
    """
    adapter = IFAdapter.from_state_dict(read_checkpoint(path), operations=comfy.ops.manual_cast)
    patcher = (comfy.model_patcher.ModelPatcher if disable_dynamic else Patcher)(
        adapter,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    # Newer versions of ComfyUI need a second copy for hooks and several devices, and load it with this call.
    patcher.cached_patcher_init = (load_adapter, (path,))
    return patcher
