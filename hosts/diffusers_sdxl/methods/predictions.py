"""A UNet whose predictions something else makes of its own, for the duration of a `with` block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ...replacing import replaced


@contextmanager
def replaced_forward(unet: Any, predict: Callable[..., Any]) -> Iterator[None]:
    """Inside the `with` block `predict(forward, sample, timestep, prompt, **others)` answers for the UNet.

    `forward` is what answered before, and afterwards it does again.
    """
    forward = unet.forward

    def answer(sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **others: Any) -> Any:
        return predict(forward, sample, timestep, encoder_hidden_states, **others)

    with replaced(unet, "forward", answer):
        yield
