"""Instance Composer: what goes where and what each thing looks like, on any SDXL checkpoint.

The repository root is the package `instance_composer`. Nothing of the pack or of a host is imported here, so
the same root serves ComfyUI, which calls `comfy_entrypoint`, and plain Python, which imports the packages
below.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint() -> ComfyExtension:
    """The extension ComfyUI registers.

    ComfyUI logs an exception raised here without its traceback, so that is logged before raising again.
    """
    try:
        from .nodes import InstanceComposerExtension

        return InstanceComposerExtension()
    except Exception:
        logging.getLogger("instance_composer").exception("Instance Composer could not be loaded.")
        raise
