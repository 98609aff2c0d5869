"""The term of drawn regions: on a conditioning, and at one sampling step."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace

import torch

from ....models.regions import Rectangle, Regions
from ..attention.layer_call import Block
from ..attention.placed import Caption, Placed, PlacedGroup
from ..attention.run_cache import RunCache
from ..attention.text import Text
from ..attention.window import Sampling, Window, acts

NODE = "Draw Regions"


@dataclass(frozen=True, eq=False)
class RegionTerm:
    """Captions of a layout's instances on one conditioning.

    `prompt` is what the prompt's words count in an instance's region; until `isolate` (a share of the noise
    schedule) an instance sees nothing but itself. `blocks` are the layers that they act in: a UNet's
    cross-attention layers; of a transformer none stands for all.
    """

    captions: tuple[Caption, ...]
    regions: Regions
    strength: float
    prompt: float
    isolate: float
    window: Window
    blocks: Collection[Block]
    of_zeros: bool = False
    node: str = NODE

    def on_zeros(self) -> RegionTerm:
        # Zeros before the node are a choice: a picture from its regions alone.
        return replace(self, of_zeros=True)

    def at(self, sigma: float, sampling: Sampling, text: Text) -> RegionStep | None:
        if (text.zeroed and not self.of_zeros) or not acts(self.window, sigma, sampling):
            return None
        active = tuple(
            strength > 0 and acts(window, sigma, sampling)
            for window, strength in zip(self.regions.windows, self.regions.strengths, strict=True)
        )
        if not any(active):
            return None
        isolated = self.isolate > 0 and acts((0.0, self.isolate), sigma, sampling)
        placed = Placed(self.captions, self.regions, active, self.strength, self.prompt, isolated)
        return RegionStep(placed, text, self.blocks)


@dataclass(frozen=True, eq=False)
class RegionStep:
    """The term at one sampling step; its regions are those of the latent it is evaluated on."""

    placed: Placed
    text: Text
    blocks: Collection[Block]

    @property
    def kind(self) -> Hashable:
        """None is computed together with another: each has texts of its own."""
        return self

    def crop(self, rectangle: Rectangle, cache: RunCache) -> RegionStep:
        regions = cache.get((self.placed.regions, rectangle), lambda: self.placed.regions.crop(*rectangle))
        return replace(self, placed=replace(self.placed, regions=regions))

    def group(
        self, members: Sequence[tuple[int, RegionStep]], device: torch.device, cache: RunCache
    ) -> PlacedGroup:
        ((chunk, _),) = members
        return PlacedGroup(chunk, self.placed, self.text, cache, self.blocks)
