"""Text features of instance captions, as an IFAdapter reads them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# The hidden states the published adapter was trained on: every second one from the penultimate down.
LAYERS = (-2, -4, -6)


@dataclass(frozen=True, eq=False)
class Phrases:
    """Text features of P captions, the arguments of `IFAdapter.instance_tokens`.

    hidden_states (P, K, T, C) of K layers, channels of both encoders concatenated; attention_mask (P, T), 1
    from start to end of text; eot (P, C), the penultimate layer at end of text.
    """

    hidden_states: Tensor
    attention_mask: Tensor
    eot: Tensor

    def to(self, device: torch.device | str) -> Phrases:
        """The same features on another device."""
        return Phrases(self.hidden_states.to(device), self.attention_mask.to(device), self.eot.to(device))
