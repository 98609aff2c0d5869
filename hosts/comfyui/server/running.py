"""ComfyUI's server in this process."""

from __future__ import annotations

import sys
from typing import Any


def running_server() -> Any:
    """The one `PromptServer`, None where none runs: the pack is also loaded without."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
