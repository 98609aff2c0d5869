"""Compiled MODELs (torch.compile): steps in which something acts on attention run without what was compiled.

ComfyUI's compile node leaves transformer_options out of what a compiled graph depends on, so a graph made
with patches would run without them and the other way round. Wrappers and patches travel in those options.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

# Where ComfyUI's compile node, and packs that use its helper, note their arguments in model_options.
COMPILE_ARGUMENTS = "torch_compile_kwargs"

logger = logging.getLogger("instance_composer")


def run_plain() -> AbstractContextManager[Any]:
    """Inside the `with` block compiled models run as they were before; what is compiled stays for later."""
    # Whoever compiles has imported this module; importing it takes seconds. The stance exists from torch 2.6.
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def is_compiled(model: Any) -> bool:
    """Whether a ComfyUI model (BaseModel), or a part of it, is compiled while it samples."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None:
        return False
    options = getattr(getattr(model, "current_patcher", None), "model_options", {})
    return COMPILE_ARGUMENTS in options or any(
        isinstance(part, dynamo.OptimizedModule) or part._compiled_call_impl is not None
        for part in model.modules()
    )


class PlainRuns:
    """Plain runs of one MODEL, of which its user is told once where the MODEL is compiled."""

    def __init__(self) -> None:
        self._checked = False

    def run(self, model: Any) -> AbstractContextManager[Any]:
        """`run_plain` for a ComfyUI model (BaseModel)."""
        if not self._checked:
            self._checked = True
            if is_compiled(model):
                logger.info(
                    "This MODEL is compiled (torch.compile): compiled steps run plain where regions or "
                    "attributes act, or attention is recorded."
                )
        return run_plain()
