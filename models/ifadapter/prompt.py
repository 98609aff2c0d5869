"""The instances of one prompt, and of several together, as sampling needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..regions import Regions


@dataclass(frozen=True, eq=False)
class InstancePrompt:
    """Regions, and the keys and values of their tokens in every adapted layer.

    `keys` and `values` map official processor numbers to (P, heads, N, head_dim). Made once per prompt by
    `IFAdapter.prompt`; the adapter itself is not needed afterwards. `made` keeps what the users of the prompt
    make of it once.
    """

    regions: Regions
    keys: dict[int, Tensor]
    values: dict[int, Tensor]
    made: dict[Any, Any] = field(default_factory=dict[Any, Any], init=False, repr=False)

    def to(self, device: torch.device | str) -> InstancePrompt:
        """The same prompt on another device."""
        return replace(
            self,
            keys={n: k.to(device) for n, k in self.keys.items()},
            values={n: v.to(device) for n, v in self.values.items()},
        )


@dataclass(frozen=True, eq=False)
class StackedPrompts:
    """Keys and values of G prompts over the same regions, made once for all steps and layers of a run.

    `keys` and `values` map official processor numbers to (G, P, heads, N, head_dim) in float32, which is
    what `semantic_map` computes in. `made` keeps what the users of the prompts make of them once.
    """

    keys: Mapping[int, Tensor]
    values: Mapping[int, Tensor]
    made: dict[Any, Any] = field(default_factory=dict[Any, Any], init=False, repr=False)

    @classmethod
    def of(cls, prompts: Sequence[InstancePrompt], device: torch.device | str) -> StackedPrompts:
        """The prompts in this order on a device."""
        keys, values = (
            {number: torch.stack([own[number].to(device).float() for own in parts]) for number in parts[0]}
            for parts in ([prompt.keys for prompt in prompts], [prompt.values for prompt in prompts])
        )
        return cls(keys, values)

    @classmethod
    def kept(cls, prompts: Sequence[InstancePrompt], device: torch.device) -> StackedPrompts:
        """The same, on a CPU kept with the first prompt for the next run of the same ones."""
        if device.type != "cpu":
            return cls.of(prompts, device)
        made, key = prompts[0].made, tuple(prompts)
        if key not in made:
            made.clear()
            made[key] = cls.of(prompts, device)
        return made[key]
