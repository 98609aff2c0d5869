"""The term of an applied IFAdapter: on a conditioning, at one sampling step, and in the UNet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ....models.ifadapter import Gate, InstancePrompt, StackedPrompts, prompts_semantic_map
from ....models.regions import Rectangle, Regions
from ..attention.layer_call import Block, CrossedCall
from ..attention.run_cache import RunCache
from ..attention.silhouettes import Grown
from ..attention.text import Text
from ..attention.window import Sampling, Window, acts
from .caption_attention import CaptionAttention

NODE = "Apply IFAdapter"


class Part(NamedTuple):
    """A rectangle of the picture: what takes the place of each prompt there, and of the captions read."""

    prompts: Mapping[InstancePrompt, InstancePrompt]
    captions: CaptionAttention | None


# None where no instance that takes part is in the rectangle.
PlaceIn = Callable[[Rectangle], Part | None]


@dataclass(frozen=True, eq=False)
class AdaptedLayers:
    """The gates of an adapter's layers; `blocks` maps ComfyUI's attn2 keys to the numbers of `gates`."""

    gates: Mapping[int, Gate]
    blocks: Mapping[Block, int]

    def to(self, device: torch.device) -> AdaptedLayers:
        return replace(self, gates={number: gate.to(device) for number, gate in self.gates.items()})


@dataclass(frozen=True, eq=False)
class InstanceTerm:
    """One adapter applied to one conditioning.

    `prompt` belongs to the captions or, for a negative, to the unconditional tokens; `when_zeroed` takes its
    place once the conditioning has been zeroed out after the adapter was applied. `place_in` makes the
    adapter's tokens anew for a part of the picture, because they tell where an instance is. With `captions`
    boxes become silhouettes, from what the picture attends to where the term `reads` it. `occlusion` is how
    much of what is behind an instance hides.
    """

    layers: AdaptedLayers
    prompt: InstancePrompt
    when_zeroed: InstancePrompt
    strength: float
    window: Window
    node: str = NODE
    place_in: PlaceIn | None = None
    captions: CaptionAttention | None = None
    reads: bool = False
    occlusion: float = 0.0

    def on_zeros(self) -> InstanceTerm:
        # Zeros before the adapter was applied are a choice: a picture from its regions alone.
        return replace(self, when_zeroed=self.prompt)

    def in_part(self, rectangle: Rectangle, cache: RunCache) -> InstanceTerm | None:
        """The same instances in a picture that is a rectangle of this one; None if none is there."""
        place_in = self.place_in
        if place_in is None:
            return self
        part = cache.get((place_in, rectangle), lambda: place_in(rectangle))
        if part is None:
            return None
        made, captions = part
        return replace(
            self,
            prompt=made[self.prompt],
            when_zeroed=made[self.when_zeroed],
            place_in=None,
            captions=captions,
        )

    def at(self, sigma: float, sampling: Sampling, text: Text) -> InstanceStep | None:
        prompt = self.when_zeroed if text.zeroed else self.prompt
        if not acts(self.window, sigma, sampling):
            return None
        windows = prompt.regions.windows
        open_windows = {window for window in set(windows) if acts(window, sigma, sampling)}
        active = tuple(window in open_windows for window in windows)
        if not any(active):
            return None
        step = InstanceStep(self.layers, prompt, self.strength, prompt.regions, active, self.occlusion)
        if self.captions is None:
            return step
        gathers = self.captions.growing.gathers(sigma, sampling)
        doubled = text.rows == 2 * text.tokens
        # What was zeroed out after the adapter is the unconditional half.
        reads = self.reads and prompt is self.prompt
        return replace(step, captions=self.captions, gathers=gathers, reads=reads, doubled=doubled)


@dataclass(frozen=True, eq=False)
class InstanceStep:
    """A term at one sampling step; `regions` are those of the latent it is evaluated on."""

    layers: AdaptedLayers
    prompt: InstancePrompt
    strength: float
    regions: Regions
    active: tuple[bool, ...]
    occlusion: float = 0.0
    captions: CaptionAttention | None = None
    gathers: bool = False
    reads: bool = False
    doubled: bool = False

    @property
    def kind(self) -> Hashable:
        """Terms of one kind differ in keys and values alone, and in whether captions are read."""
        own = (self.layers, self.strength, self.regions, self.active, self.occlusion)
        return *own, self.captions, self.gathers

    def crop(self, rectangle: Rectangle, cache: RunCache) -> InstanceStep:
        return replace(
            self, regions=cache.get((self.regions, rectangle), lambda: self.regions.crop(*rectangle))
        )

    def group(
        self, members: Sequence[tuple[int, InstanceStep]], device: torch.device, cache: RunCache
    ) -> InstanceGroup:
        prompts = tuple(member.prompt for _, member in members)
        return InstanceGroup(
            layers=cache.get((self.layers, device), lambda: self.layers.to(device)),
            chunks=tuple(index for index, _ in members),
            prompts=cache.get((prompts, device), lambda: StackedPrompts.of(prompts, device)),
            strength=self.strength,
            regions=self.regions,
            active=self.active,
            occlusion=self.occlusion,
            silhouettes=self._silhouettes(members, cache),
        )

    def _silhouettes(
        self, members: Sequence[tuple[int, InstanceStep]], cache: RunCache
    ) -> Reading | Grown | None:
        if self.captions is None:
            return None
        grown = Grown.of(self.captions.growing, self.regions, cache)
        if not self.gathers:
            return grown
        return Reading(self.captions, grown, {at: one.doubled for at, one in members if one.reads})


class Reading(NamedTuple):
    """Captions whose maps are gathered, and the chunks they are read in: whether texts are doubled there."""

    captions: CaptionAttention
    grown: Grown
    chunks: Mapping[int, bool]


@dataclass(frozen=True, eq=False)
class InstanceGroup:
    """Chunks of a UNet batch that share gates, regions and strength, each with its own keys and values.

    `silhouettes`: those of the run instead of the regions, or what they are going to be grown from.
    """

    layers: AdaptedLayers
    chunks: tuple[int, ...]
    prompts: StackedPrompts
    strength: float
    regions: Regions
    active: tuple[bool, ...]
    occlusion: float = 0.0
    silhouettes: Reading | Grown | None = None

    @property
    def blocks(self) -> Collection[Block]:
        own = self.layers.blocks.keys()
        return own | set(self.silhouettes.captions.blocks) if isinstance(self.silhouettes, Reading) else own

    @property
    def adds(self) -> bool:
        return True

    def act(self, call: CrossedCall) -> None:
        """Adds the instances of every chunk to the layer."""
        if isinstance(self.silhouettes, Reading):
            self._read(call, self.silhouettes)
        if call.block not in self.layers.blocks:
            return
        term = self.term(call.block, [call.query(chunk) for chunk in self.chunks], call.grid)
        for chunk, part in zip(self.chunks, term, strict=True):
            # Couple masks sum to 1 in every place, so each copy of a chunk gets the whole term.
            call.add_to_copies(chunk, part)

    def term(self, block: Block, queries: Sequence[Tensor], grid: tuple[int, int]) -> Sequence[Tensor]:
        """The sum that one layer adds for the queries (rows, L, C) of each of the group's chunks."""
        count = len(queries[0])
        grown = self.silhouettes.rows(count) if isinstance(self.silhouettes, Grown) else (self.regions,)
        if len(grown) == 1:
            return self._term(block, queries, grid, grown[0])
        rows = [
            self._term(block, [query[row : row + 1] for query in queries], grid, regions)
            for row, regions in enumerate(grown)
        ]
        return [torch.cat(parts) for parts in zip(*rows, strict=True)]

    def _term(
        self, block: Block, queries: Sequence[Tensor], grid: tuple[int, int], regions: Regions
    ) -> Sequence[Tensor]:
        placement = regions.place(grid, self.active, queries[0].device)
        if placement is None:
            return [torch.zeros_like(query) for query in queries]
        number = self.layers.blocks[block]
        term = prompts_semantic_map(
            queries[0] if len(queries) == 1 else torch.cat(tuple(queries)),
            self.prompts,
            number,
            self.layers.gates[number],
            placement,
            self.occlusion,
        )
        return (term if self.strength == 1.0 else self.strength * term).split(len(queries[0]))

    def _read(self, call: CrossedCall, reading: Reading) -> None:
        if call.block not in reading.captions.blocks:
            return
        for chunk, doubled in reading.chunks.items():
            reading.grown.add(reading.captions.maps(call, chunk, doubled))
