"""Z-Image of diffusers with captions: its pictures and texts are lists, and refiners read each apart first.

Facts of diffusers 0.42: the sequence is the picture, filled up to whole 32 tokens, and behind it the text,
filled up likewise; the text is numbered from 1, the picture behind it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from ...models.attention import seeing
from ...models.attention.row_groups import RowGroups
from ...models.attention.seeing import Sway
from ...models.regions import Regions
from ..replacing import replaced
from .errors import UnsuitableModelError
from .known_texts import KnownTexts
from .row_attention import RowAttention

PICTURES, TEXTS, CONTROL = "x", "cap_feats", "controlnet_block_samples"


class ZImageDrawing:
    """Calls of one transformer, each with the captions (n, width) behind the prompt (n, width)."""

    def __init__(
        self, transformer: Any, regions: Regions, captions: Sequence[Tensor], prompt: Tensor, sway: Sway
    ) -> None:
        self.transformer, self.regions, self.sway = transformer, regions, sway
        self.captions, self.prompt = captions, prompt
        self.known = KnownTexts(len(prompt))
        # By row of a call: whether it is drawn, its grid, and tokens of picture and prompt.
        self._groups: dict[tuple[bool, tuple[int, int], int, int, torch.device], dict[str, RowGroups]] = {}

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The transformer's forward with the captions."""
        signature = inspect.signature(forward)

        def joined(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            pictures, texts = given[PICTURES], given[TEXTS]
            if isinstance(pictures[0], (list, tuple)):
                raise UnsuitableModelError("Regions cannot be drawn beside reference pictures.")
            drawn = [
                one.shape == self.prompt.shape and torch.equal(one, self.prompt.to(one)) for one in texts
            ]
            self.known.see(drawn, [len(one) for one in texts])
            if not any(drawn):
                return forward(*args, **kwargs)
            if given.get(CONTROL):
                raise UnsuitableModelError(
                    "Regions cannot be drawn with a ControlNet on Z-Image. Take it off."
                )
            attention = _Attention()
            plain = self.transformer.patchify_and_embed

            def embed(*args: Any, **kwargs: Any) -> Any:
                return self._joined(plain(*args, **kwargs), drawn, attention)

            with replaced(self.transformer, "patchify_and_embed", embed), attention:
                found = forward(*args, **kwargs)
            if not attention.reached:
                raise UnsuitableModelError(
                    "No attention of the transformer was reached: another attention backend than torch's "
                    "own is set. Take that off."
                )
            return found

        return joined

    def _joined(self, embedded: Any, drawn: Sequence[bool], attention: _Attention) -> tuple[Any, ...]:
        """What the model made of pictures and texts, with the captions in the rows that are drawn."""
        pictures, texts, sizes, picture_ids, text_ids, picture_masks, text_masks = embedded
        side = self.transformer.all_patch_size[0]
        for row, text in enumerate(texts):
            prompt, device = len(text), text.device
            _, height, width = sizes[row]
            key = (drawn[row], (height // side, width // side), len(pictures[row]), prompt, device)
            if key not in self._groups:
                self._groups[key] = self._made_groups(*key)
            attention.rows.append(self._groups[key])
            if not drawn[row]:
                continue
            # A caption ends where the prompt does, right before the picture. All tokens of a row as many
            # places later is the same, and none has a place before the first.
            later = max(0, *(len(one) - prompt for one in self.captions))
            own = [
                torch.arange(prompt - len(one), prompt, device=device) + 1 + later for one in self.captions
            ]
            ids = text_ids[row][:prompt] + _along(torch.tensor([later], device=device), text_ids[row])
            places = [_along(one, text_ids[row]) for one in own]
            texts[row] = torch.cat((text, *(one.to(text) for one in self.captions)))
            text_ids[row] = torch.cat((ids, *places))
            text_masks[row] = _longer(text_masks[row], len(texts[row]))
            picture_ids[row] = picture_ids[row] + _along(
                torch.tensor([later], device=device), picture_ids[row]
            )
        attention.picture = max(len(one) for one in pictures)
        attention.text = max(len(one) for one in texts)
        if attention.text == attention.picture:
            # One token that nobody sees tells calls of the text from those of the picture.
            attention.text += 1
            row = drawn.index(True)
            texts[row] = _longer(texts[row], attention.text)
            text_ids[row] = _longer(text_ids[row], attention.text)
            text_masks[row] = _longer(text_masks[row], attention.text)
        attention.whole = max(len(one) + len(two) for one, two in zip(pictures, texts, strict=True))
        return pictures, texts, sizes, picture_ids, text_ids, picture_masks, text_masks

    def _made_groups(
        self, drawn: bool, grid: tuple[int, int], picture: int, prompt: int, device: torch.device
    ) -> dict[str, RowGroups]:
        """Who sees whom in calls of the text alone and of all, of one row."""
        lengths = [len(one) for one in self.captions] if drawn else []
        ends = list(accumulate(lengths, initial=prompt))
        own = torch.arange(prompt, device=device)
        captions = [torch.arange(first, last, device=device) for first, last in pairwise(ends)]
        placement = self.regions.place(grid, None, device) if drawn else None
        if placement is None:
            owner = torch.full((grid[0] * grid[1],), -1, device=device)
        else:
            owner = seeing.owners(placement.covered.flatten(1)).to(device)
        cells = torch.arange(picture, device=device)
        behind = [one + picture for one in captions]
        sway = self.sway if drawn else Sway(())
        return {
            "text": seeing.apart(own, captions),
            "joint": seeing.joint(own + picture, behind, cells, owner, sway),
        }


class _Attention(RowAttention):
    """Each row of picture, prompt and captions sees what it may, in calls of the text alone and of all.

    Rows of a batch are of different lengths, so the model hides what fills them up; here nothing sees it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, RowGroups]] = []
        self.picture = self.text = self.whole = 0

    def groups(self, query: Tensor, key: Tensor, *rest: Any, **options: Any) -> list[RowGroups] | None:
        kind = {self.text: "text", self.whole: "joint"}.get(query.shape[2])
        if kind is None or len(query) != len(self.rows) or query.shape[2] != key.shape[2]:
            return None
        self.reached = self.reached or kind == "joint"
        return [groups[kind] for groups in self.rows]


def _along(places: Tensor, like: Tensor) -> Tensor:
    """Places (n,) on the first of three axes: (n, 3)."""
    return functional.pad(places[:, None], (0, 2)).to(like)


def _longer(tokens: Tensor, length: int) -> Tensor:
    """Zeros behind (n, …), so that it has `length` rows."""
    filling = tokens.new_zeros((length - len(tokens), *tokens.shape[1:]))
    return torch.cat((tokens, filling))
