"""Nodes that put an attention of their own into a MODEL's override slot, installed as core's are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.patcher_extension import CallbacksMP
from torch import Tensor

OVERRIDE = "optimized_attention_override"


class SelfAttentionOverride:
    """Self-attention by a kernel without gradient; all else goes to what stood in the slot before.

    As core's Block Sparse Attention it puts itself on top of whatever stands there, and again at every step.
    `every` 1 attends to all keys, 2 to every second one. `calls` counts by whether gradients were asked for.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.calls = {False: 0, True: 0}
        self._installed: set[Any] = set()

    def apply(self, model: Any) -> Any:
        bound = model.clone()
        self.install(bound.model_options["transformer_options"])
        bound.add_callback_with_key(
            CallbacksMP.ON_PREPARE_STATE,
            "tests",
            lambda patcher, timestep, options: self.install(options["transformer_options"]),
        )
        return bound

    def install(self, options: dict[str, Any]) -> None:
        current = options.get(OVERRIDE)
        if current not in self._installed:
            options[OVERRIDE] = self._over(current)
            self._installed.add(options[OVERRIDE])

    def _over(self, previous: Callable[..., Tensor] | None) -> Callable[..., Tensor]:
        def attend(
            chosen: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
        ) -> Tensor:
            if kwargs.get("mask") is not None or key.shape[1] != query.shape[1]:
                inputs = (query, key, value, *args)
                return chosen(*inputs, **kwargs) if previous is None else previous(chosen, *inputs, **kwargs)
            self.calls[torch.is_grad_enabled() or not torch.is_inference_mode_enabled()] += 1
            some = slice(None, None, self.every)
            return attention_pytorch(query, key[:, some], value[:, some], *args, **kwargs).detach()

        return attend
