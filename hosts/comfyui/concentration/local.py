"""Term of attribute concentration in the layers: attention is moved as each layer runs."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....models.concentration import LocalGuidance, Targets, concentrate_tokens
from ....models.regions import Rectangle
from ..attention.errors import UnexplainedRowsError
from ..attention.layer_call import Block, LayerCall
from ..attention.run_cache import RunCache
from ..attention.silhouettes import Growing
from ..attention.text import Text
from ..attention.window import Sampling, Window, acts
from .silhouettes import GrownTargets

NODE = "Attribute Concentration"


class OtherPromptError(ValueError):
    """Entities whose tokens are not those of the conditioning they were applied to."""


@dataclass(frozen=True, eq=False)
class LocalTerm:
    """Entities of one conditioning, concentrated in each of these layers as it runs."""

    targets: Targets
    guidance: LocalGuidance
    layers: tuple[Block, ...]
    window: Window
    node: str = NODE
    growing: Growing | None = None

    def on_zeros(self) -> LocalTerm:
        return self

    def with_growing(self, growing: Growing) -> LocalTerm:
        return replace(self, growing=growing)

    def at(self, sigma: float, sampling: Sampling, text: Text) -> LocalStep | None:
        active = acting_entities(self.targets, self.window, sigma, sampling, text)
        if active is None:
            return None
        gathers = self.growing is not None and self.growing.gathers(sigma, sampling)
        return LocalStep(self.targets, self.guidance, self.layers, active, text, self.growing, gathers)


@dataclass(frozen=True, eq=False)
class LocalStep:
    """A term at one sampling step."""

    targets: Targets
    guidance: LocalGuidance
    layers: tuple[Block, ...]
    active: tuple[bool, ...]
    text: Text
    growing: Growing | None = None
    gathers: bool = False

    @property
    def kind(self) -> Hashable:
        own = (self.targets, self.guidance, self.layers, self.active, self.text)
        return *own, self.growing, self.gathers

    def crop(self, rectangle: Rectangle, cache: RunCache) -> LocalStep:
        return replace(self, targets=cropped(self.targets, rectangle, cache))

    def group(
        self, members: Sequence[tuple[int, LocalStep]], device: torch.device, cache: RunCache
    ) -> LocalGroup:
        chunks = tuple(index for index, _ in members)
        grown = self.growing and GrownTargets.of(self.growing, self.targets, cache)
        return LocalGroup(self, chunks, grown)


@dataclass(frozen=True, eq=False)
class LocalGroup:
    """Chunks of a batch whose entities are the same."""

    step: LocalStep
    chunks: tuple[int, ...]
    grown: GrownTargets | None = None

    @property
    def blocks(self) -> Collection[Block]:
        return self.step.layers

    @property
    def adds(self) -> bool:
        return True

    def act(self, call: LayerCall) -> None:
        """Adds what concentration changes to the prompt's own rows of every chunk."""
        step, text = self.step, self.step.text
        own_tokens(step.targets, text, call)
        for chunk in self.chunks:
            plain = call.plain(chunk)
            members = step.targets.members(plain.device, step.active)
            before = call.probabilities(chunk, text, members.tokens)
            values = call.values(chunk, text, members.tokens)
            if self.grown is not None and step.gathers:
                self.grown.add(before.mean(1).transpose(1, 2).unflatten(1, call.grid))
            if self.grown is None or step.gathers:
                targets: tuple[Targets, ...] = (step.targets,)
            else:
                targets = self.grown.rows(len(before))
            rows = [
                concentrate_tokens(b, v, attended, seen, call.grid, step.guidance, step.active)
                for seen, b, v, attended in _parts(targets, before, values, plain)
            ]
            call.add(chunk, rows[0] if len(rows) == 1 else torch.cat(rows))


def _parts(targets: Sequence[Targets], *tensors: Tensor) -> Iterator[tuple[Targets, Tensor, Tensor, Tensor]]:
    """Targets with their own rows of each of three tensors; all rows where there is one for all."""
    for at, own in enumerate(targets):
        rows = slice(None) if len(targets) == 1 else slice(at, at + 1)
        before, values, attended = (one[rows] for one in tensors)
        yield own, before, values, attended


def acting_entities(
    targets: Targets, window: Window, sigma: float, sampling: Sampling, text: Text
) -> tuple[bool, ...] | None:
    """A flag for each entity that acts at a noise level, by the term's window and its own; None if none does.

    OtherPromptError when the text cannot be the one the targets' tokens were counted in.
    """
    # A conditioning of zeros (ConditioningZeroOut) has no words whose attention could be moved.
    if text.zeroed or not acts(window, sigma, sampling):
        return None
    windows = targets.regions.windows
    open_windows = {own for own in set(windows) if acts(own, sigma, sampling)}
    if not open_windows:
        return None
    check_tokens(targets, text.tokens)
    return tuple(own in open_windows for own in windows)


def own_tokens(targets: Targets, text: Text, call: LayerCall) -> int:
    """The tokens of a text that a layer has keys of.

    Raises `UnexplainedRowsError` where those of the targets are not among them.
    """
    own = call.own_tokens(text)
    if targets.tokens[-1] >= own:
        raise UnexplainedRowsError(
            f"A cross-attention layer has {own} keys for a text of {text.tokens} tokens, and {NODE} needs "
            f"that of token {targets.tokens[-1] + 1}. Another node pack on this MODEL cuts the prompt inside "
            "the UNet; take its nodes off this MODEL."
        )
    return own


def cropped(targets: Targets, rectangle: Rectangle, cache: RunCache) -> Targets:
    """The targets seen from a rectangle of the picture, the same object for the same question."""
    return cache.get((targets, rectangle), lambda: targets.crop(targets.regions.crop(*rectangle)))


def check_tokens(targets: Targets, length: int) -> None:
    """OtherPromptError unless a text of this many tokens has those of the targets."""
    if targets.tokens[-1] >= length:
        raise OtherPromptError(
            f"The entities stand at tokens up to {targets.tokens[-1]} of their prompt, but the conditioning "
            f"has {length} tokens: it was made from another text. Give {NODE} the entities of the prompt "
            "that the conditioning was encoded from."
        )
