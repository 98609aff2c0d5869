"""Captions joined to the prompt in one call of a transformer: the texts, and which token is whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .....models.attention import seeing
from .....models.attention.row_groups import RowGroups
from .....models.attention.seeing import Sway
from ..layer_call import Block, ModelCall
from ..placed import PlacedGroup
from ..run_cache import RunCache
from .families import Family, Grid


@dataclass(frozen=True, eq=False)
class Texts:
    """One chunk's texts: places of its captions in the joined text, and its group, None without captions."""

    captions: tuple[tuple[int, int], ...]
    group: PlacedGroup | None


@dataclass(frozen=True, eq=False)
class Joined:
    """One call with captions, all of them before the prompt, so that prompt and picture stay neighbours.

    `arguments` are those that change. The text has `length` tokens, the prompt all from `prompt` on; `texts`
    are those of each chunk of `rows` rows. `numbers` (B, length): the place that each token has in a text of
    its own; None where places do not matter or tokens are turned to them.
    """

    family: Family
    transformer: Any
    arguments: Mapping[str, Any]
    length: int
    prompt: int
    grid: Grid
    rows: int
    texts: tuple[Texts, ...]
    numbers: Tensor | None
    cache: RunCache

    @property
    def joins(self) -> bool:
        """Whether there are captions at all, so that rows see different keys."""
        return any(text.group is not None for text in self.texts)

    @property
    def cells(self) -> int:
        """Tokens of the picture."""
        frames, height, width = self.grid
        return frames * height * width

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
        for first, last in self.texts[chunk].captions:
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
        texts = self.texts[chunk]
        placed = None if texts.group is None else texts.group.placed
        sway = self._sway(texts, block)
        how = None if placed is None else (placed.regions, placed.active, sway)
        where = (self.length, self.prompt, texts.captions, self.grid)
        key = (kind, how, where, rows, device)
        return self.cache.get(key, lambda: self._groups(kind, texts, sway, rows, device))

    def _sway(self, texts: Texts, block: Block) -> Sway:
        """That of a chunk's captions in one block; none where they do not act."""
        if texts.group is None:
            return Sway(())
        sway, blocks = texts.group.placed.sway, texts.group.blocks
        return sway if not blocks or block in blocks else Sway((0.0,) * len(sway.strengths))

    def _groups(self, kind: str, texts: Texts, sway: Sway, rows: int, device: torch.device) -> RowGroups:
        tokens = torch.arange(max(rows, self.length), device=device)
        prompt = tokens[self.prompt : self.length]
        captions = [tokens[first:last] for first, last in texts.captions]
        if kind == "text":
            return seeing.apart(prompt, captions)
        owner = self._owner(texts, device)
        if kind == "joint":
            return seeing.joint(prompt, captions, tokens[self.length : rows], owner, sway)
        owner = torch.cat((owner, owner.new_full((rows - len(owner),), -1)))
        if kind == "crossed":
            return seeing.crossed(prompt, captions, owner, sway)
        return seeing.within(owner, sway)

    def _owner(self, texts: Texts, device: torch.device) -> Tensor:
        frames, *grid = self.grid
        placement = texts.group and texts.group.placed.placement((grid[0], grid[1]), device)
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
    if not placed:
        own = _rounded(text.shape[1], family.multiple(transformer))
        nothing = (Texts((), None),) * len(call.labels)
        return Joined(family, transformer, {}, own, 0, grid, call.rows, nothing, None, RunCache())
    cache = next(iter(placed.values())).cache
    words = {
        chunk: [family.words(transformer, one, text) for one in group.placed.acting]
        for chunk, group in placed.items()
    }
    counts = {chunk: [one.shape[1] for one in own] for chunk, own in words.items()}
    multiple = family.multiple(transformer)
    own = _rounded(text.shape[1], multiple)
    before = _before(max(map(sum, counts.values())), own, multiple, grid, family.taken)
    joined = torch.cat((text.new_zeros(len(text), before, text.shape[2]), text), 1)
    texts: list[Texts] = []
    for chunk in range(len(call.labels)):
        ends = [sum(counts.get(chunk, ())[:n]) for n in range(len(counts.get(chunk, ())) + 1)]
        if chunk in words:
            rows = slice(chunk * call.rows, (chunk + 1) * call.rows)
            joined[rows, : ends[-1]] = torch.cat(words[chunk], 1)
        texts.append(Texts(tuple(pairwise(ends)), placed.get(chunk)))
    arguments: dict[str, Any] = {family.text: joined}
    if given.get("attention_mask") is not None and family.text == "context":
        # It hides nothing (`Family.check`), but is as long as the prompt.
        arguments["attention_mask"] = None
    numbers = _numbers(family.numbering(transformer), texts, before, text.shape[1], call.rows, text.device)
    return Joined(
        family, transformer, arguments, before + own, before, grid, call.rows, tuple(texts), numbers, cache
    )


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


def _numbers(
    numbering: str, texts: Sequence[Texts], before: int, prompt: int, rows: int, device: torch.device
) -> Tensor | None:
    if numbering not in ("start", "end"):
        return None
    numbers = torch.zeros(len(texts), before + prompt, dtype=torch.long, device=device)
    numbers[:, before:] = torch.arange(prompt, device=device)
    for own, text in zip(numbers, texts, strict=True):
        for first, last in text.captions:
            shift = max(prompt - (last - first), 0) if numbering == "end" else 0
            own[first:last] = shift + torch.arange(last - first, device=device)
    return numbers.repeat_interleave(rows, 0)
