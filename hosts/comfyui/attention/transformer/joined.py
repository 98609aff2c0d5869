"""Captions joined to the prompt in one call of a transformer: the texts, and which token is whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from .....models.attention import seeing
from .....models.attention.row_groups import RowGroups
from .....models.attention.seeing import Sway
from ..layer_call import Block, ModelCall
from ..placed import PlacedGroup, own_places
from ..run_cache import RunCache
from .families import Family, Grid

# First token, and the one behind the last.
Range = tuple[int, int]


@dataclass(frozen=True)
class Stretch:
    """Places of the prompt, and of the captions of each chunk, in one stretch of the whole text."""

    prompt: Range
    captions: tuple[tuple[Range, ...], ...]

    def moved(self, by: int) -> Stretch:
        """The same so many tokens later."""
        first, last = self.prompt
        captions = tuple(tuple((a + by, b + by) for a, b in own) for own in self.captions)
        return Stretch((first + by, last + by), captions)


@dataclass(frozen=True, eq=False)
class Joined:
    """One call with captions, all of them before the prompt, so that prompt and picture stay neighbours.

    `arguments` are those that change. The text has `length` tokens in `stretches`, one but for models that
    read several texts; `texts` has the group of each chunk of `rows` rows, None for one without captions.
    `numbers` (B, length): the place that each token has in a text of its own; None where places do not matter
    or tokens are turned to them.
    """

    family: Family
    transformer: Any
    arguments: Mapping[str, Any]
    length: int
    stretches: tuple[Stretch, ...]
    grid: Grid
    rows: int
    texts: tuple[PlacedGroup | None, ...]
    numbers: Tensor | None
    device: torch.device
    cache: RunCache

    @property
    def joins(self) -> bool:
        """Whether there are captions at all, so that rows see different keys."""
        return any(group is not None for group in self.texts)

    @property
    def prompt(self) -> int:
        """Tokens of the text before the prompt."""
        return self.stretches[0].prompt[0]

    @property
    def cells(self) -> int:
        """Tokens of the picture."""
        frames, height, width = self.grid
        return frames * height * width

    @property
    def picture(self) -> int:
        """Place of the picture's first token, where it is in one sequence with the text."""
        return 0 if self.family.behind else self.length

    @cached_property
    def places(self) -> Tensor:
        """Places of the prompt's tokens among the keys, in the order of its text axis."""
        return self._places([one.prompt for one in self.stretches])

    def _places(self, ranges: Sequence[Range]) -> Tensor:
        """Places of tokens of the text among the keys."""
        found = torch.cat([torch.arange(first, last, device=self.device) for first, last in ranges])
        return found + self.cells if self.family.behind else found

    def number(self, given: dict[str, Any]) -> dict[str, Any]:
        """The model's patch `post_input`: each text is numbered as if it were alone."""
        ids = given["txt_ids"]
        if self.numbers is None or ids is None:
            return given
        places = self.numbers[..., None].expand(-1, -1, ids.shape[-1])
        return {**given, "txt_ids": ids.expand(len(places), -1, -1).gather(1, places)}

    def turned(self, tokens: Tensor, chunk: int) -> Tensor:
        """Queries or keys (rows, heads, length + …, width) of one chunk, each turned to its place.

        The model numbers the text through and the picture behind it: prompt and picture are as far apart as
        ever, a caption is not.
        """
        if not self.turns:
            return tokens
        steps = [0] * self.prompt
        for first, last in self.stretches[0].captions[chunk]:
            steps[first:last] = [self.length - last] * (last - first)
        captions = self.family.turned(self.transformer, tokens[:, :, : self.prompt], steps)
        return self.filled_up(torch.cat((captions, tokens[:, :, self.prompt :]), 2), self.length + self.cells)

    def filled_up(self, tokens: Tensor, end: int) -> Tensor:
        """Queries or keys of which those from `end` on fill the picture up: the model numbers these 0."""
        behind = tokens.shape[2] - end
        if not self.turns or not behind:
            return tokens
        filling = self.family.turned(self.transformer, tokens[:, :, end:], [self.prompt] * behind)
        return torch.cat((tokens[:, :, :end], filling), 2)

    @property
    def turns(self) -> bool:
        """Whether tokens are turned to their places, because the model cannot be told them."""
        return self.family.numbering(self.transformer) == "turn"

    def groups(self, kind: str, block: Block, chunk: int, rows: int, device: torch.device) -> RowGroups:
        """Who sees whom in one kind of call ("joint", "crossed", "text", "picture") of so many rows."""
        group = self.texts[chunk]
        placed = None if group is None else group.placed
        sway = self._sway(chunk, block)
        how = None if placed is None else (placed.regions, placed.active, sway)
        own = tuple((one.prompt, one.captions[chunk]) for one in self.stretches)
        key = (kind, how, (self.length, own, self.grid), rows, device)
        return self.cache.get(key, lambda: self._groups(kind, chunk, sway, rows, device))

    def _sway(self, chunk: int, block: Block) -> Sway:
        """That of a chunk's captions in one block; none where they do not act."""
        group = self.texts[chunk]
        if group is None:
            return Sway(())
        sway, blocks = group.placed.sway, group.blocks
        return sway if not blocks or block in blocks else Sway((0.0,) * len(sway.strengths))

    def _groups(self, kind: str, chunk: int, sway: Sway, rows: int, device: torch.device) -> RowGroups:
        prompt = self.places
        each = zip(*(one.captions[chunk] for one in self.stretches), strict=True)
        captions = [self._places(own) for own in each]
        if kind == "text":
            return seeing.apart(prompt, captions)
        owner = self._owner(chunk, device)
        if kind == "joint":
            tokens = torch.arange(rows, device=device)
            text = self.cells if self.family.behind else 0
            picture = torch.cat((tokens[:text], tokens[text + self.length :]))
            return seeing.joint(prompt, captions, picture, owner, sway)
        owner = torch.cat((owner, owner.new_full((rows - len(owner),), -1)))
        if kind == "crossed":
            return seeing.crossed(prompt, captions, owner, sway, spoken=self._spoken(chunk, captions))
        return seeing.within(owner, sway)

    def _spoken(self, chunk: int, captions: Sequence[Tensor]) -> list[Tensor | None]:
        """Places of the words of each of a chunk's captions among the keys."""
        group = self.texts[chunk]
        acting = group.placed.acting if group else ()
        spoken = (self.family.spoken(one) for one in acting)
        return [own_places(one, own) for one, own in zip(spoken, captions, strict=True)]

    def _owner(self, chunk: int, device: torch.device) -> Tensor:
        frames, *grid = self.grid
        group = self.texts[chunk]
        placement = group and group.placed.placement((grid[0], grid[1]), device)
        if placement is None:
            return torch.full((self.cells,), -1, device=device)
        return seeing.owners(placement.covered.flatten(1)).to(device).repeat(frames)


def join(
    family: Family,
    transformer: Any,
    given: Mapping[str, Any],
    latent: Tensor,
    placed: Mapping[int, PlacedGroup],
    call: ModelCall,
) -> Joined:
    """The call with the captions of its chunks; `given` are its arguments by name.

    Without any the call is as it was, and what is known of it is where its texts and its picture are.
    """
    grid = family.grid(transformer, latent)
    family.check(given, grid, joins=bool(placed))
    text: Tensor = given[family.text]
    multiple = family.multiple(transformer)
    own = _rounded(text.shape[1], multiple)
    chunks = tuple(placed.get(chunk) for chunk in range(len(call.labels)))
    acting = [group.placed.acting if group else () for group in chunks]
    words = [[family.words(transformer, one, text) for one in each] for each in acting]
    before = _before(_longest(words, 1), own, multiple, grid, family.taken) if placed else 0
    stretches = [_stretch(words, before, own, axis=1)]
    arguments: dict[str, Any] = {family.text: _joined(text, words, before, call.rows, axis=1)}
    for stream in family.streams:
        name, axis = stream.argument, stream.axis
        words = [[family.stream(stream, one, given[name]) for one in each] for each in acting]
        longest = _longest(words, axis)
        arguments[name] = _joined(given[name], words, longest, call.rows, axis)
        stretch = _stretch(words, longest, given[name].shape[axis], axis)
        for _ in range(stream.stretches):
            stretches.append(stretch.moved(stretches[-1].prompt[1]))
    if given.get("attention_mask") is not None and family.text == "context":
        # It hides nothing (`Family.check`), but is as long as the prompt.
        arguments["attention_mask"] = None
    numbers = None
    if placed:
        numbers = _numbers(family.numbering(transformer), stretches[0], text.shape[1], call.rows, text.device)
    return Joined(
        family,
        transformer,
        arguments if placed else {},
        stretches[-1].prompt[1],
        tuple(stretches),
        grid,
        call.rows,
        chunks,
        numbers,
        text.device,
        next(iter(placed.values())).cache if placed else RunCache(),
    )


def _longest(words: Sequence[Sequence[Tensor]], axis: int) -> int:
    """Tokens of the captions of that chunk that has most."""
    return max(sum(one.shape[axis] for one in each) for each in words)


def _joined(text: Tensor, words: Sequence[Sequence[Tensor]], before: int, rows: int, axis: int) -> Tensor:
    """The text with the captions of each chunk of `rows` rows along an axis, `before` tokens in all."""
    if not before:
        return text
    shape = list(text.shape)
    shape[axis] = before
    captions = text.new_zeros(shape)
    for chunk, own in enumerate(words):
        if own:
            whole = torch.cat([*own], axis)
            captions[chunk * rows : (chunk + 1) * rows].narrow(axis, 0, whole.shape[axis]).copy_(whole)
    return torch.cat((captions, text), axis)


def _stretch(words: Sequence[Sequence[Tensor]], before: int, own: int, axis: int) -> Stretch:
    """The places of captions, and of a prompt of `own` tokens behind `before`."""
    ends = [list(accumulate((one.shape[axis] for one in each), initial=0)) for each in words]
    return Stretch((before, before + own), tuple(tuple(pairwise(each)) for each in ends))


def _before(captions: int, own: int, multiple: int, grid: Grid, taken: Sequence[int]) -> int:
    """Tokens before the prompt, such that no other call of the model is as long as the whole text."""
    frames, height, width = grid
    cells = frames * height * width
    others = {cells, _rounded(cells, multiple), *taken}
    before = _rounded(captions, multiple)
    while before + own in others:
        before += multiple
    return before


def _rounded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _numbers(numbering: str, stretch: Stretch, prompt: int, rows: int, device: torch.device) -> Tensor | None:
    if numbering not in ("start", "end"):
        return None
    before = stretch.prompt[0]
    numbers = torch.zeros(len(stretch.captions), before + prompt, dtype=torch.long, device=device)
    numbers[:, before:] = torch.arange(prompt, device=device)
    for own, captions in zip(numbers, stretch.captions, strict=True):
        for first, last in captions:
            shift = max(prompt - (last - first), 0) if numbering == "end" else 0
            own[first:last] = shift + torch.arange(last - first, device=device)
    return numbers.repeat_interleave(rows, 0)
