"""Drawing a layout's instances on a transformer of diffusers, as the node Draw Regions does in ComfyUI."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from ...layout import Layout
from ...models.attention import seeing
from ...models.attention.row_groups import RowGroups
from ...models.attention.seeing import Sway
from ...models.regions import Regions
from ..replacing import replaced
from .errors import UnsuitableModelError
from .families import FAMILIES, Family, Grid
from .known_texts import KnownTexts
from .row_attention import RowAttention
from .z_image import ZImageDrawing

Z_IMAGE = "ZImageTransformer2DModel"
TEXT = "encoder_hidden_states"
MASKED = "Regions cannot be drawn where a part of the text or of the picture is masked."

logger = logging.getLogger("instance_composer")


@contextmanager
def draw_regions(
    transformer: Any,
    layout: Layout,
    captions: Sequence[Tensor | Sequence[Tensor]],
    prompt_embeds: Tensor | Sequence[Tensor],
    strength: float = 1.0,
    prompt_inside: float = 0.0,
) -> Iterator[None]:
    """In the `with` block the layout's active instances are drawn where they are, by their captions.

    `captions` are texts (1, n, width), one for each active instance in stacking order, and `prompt_embeds`
    (1, n, width) is the prompt, as the pipeline's `encode_prompt` gives them (Z-Image's: a list of one text
    (n, width) each): rows of other prompts, the negative among them, are sampled as without. Where no row of
    any call was the prompt, a warning says so at the end. At strength 0 and without instances nothing is
    changed.
    Afterwards the transformer is as it was. Raises `UnsuitableModelError` for other classes, for control
    tokens in the sequence, and where attention is not computed by torch's own function; ValueError for texts
    that do not fit the layout.
    """
    kind = type(transformer).__name__
    if kind not in FAMILIES and kind != Z_IMAGE:
        known = ", ".join((*FAMILIES, Z_IMAGE))
        raise UnsuitableModelError(f"This transformer is {kind}; regions can be drawn on {known}.")
    active = layout.checked().active
    if len(captions) != len(active):
        raise ValueError(
            f"There are {len(captions)} captions and {len(active)} active instances: give one each."
        )
    prompt, texts = _text(prompt_embeds), [_text(one) for one in captions]
    width = prompt.shape[-1]
    if wrong := [tuple(one.shape) for one in texts if one.ndim != 3 or one.shape[2] != width]:
        raise ValueError(
            f"A caption is (1, n, {width}), as wide as the prompt; got {wrong[0]}. Encode both with the "
            "pipeline's encode_prompt."
        )
    if strength == 0.0 or not active:
        yield
        return
    if any((one.start, one.end) != (0.0, 1.0) for one in active):
        logger.warning("Parts of the run of single instances have no effect on diffusers' transformers.")
    if unused := [one.id for one in active if one.negative.strip()]:
        logger.warning(
            "Negatives of instances are not read here; those of these have no effect: %s.", ", ".join(unused)
        )
    regions = Regions.from_layout(layout)
    sway = Sway(tuple(strength * one for one in regions.strengths), prompt_inside)
    if kind == Z_IMAGE:
        drawing = ZImageDrawing(transformer, regions, [one[0] for one in texts], prompt[0], sway)
    else:
        drawing = _Drawing(FAMILIES[kind], transformer, regions, texts, prompt, sway)
    with replaced(transformer, "forward", drawing.around(transformer.forward)):
        yield
    drawing.known.tell()


def _text(given: Tensor | Sequence[Tensor]) -> Tensor:
    """A text (1, n, width), also of a list of one, or of one without the first axis."""
    if not isinstance(given, Tensor):
        if len(given) != 1:
            raise ValueError(f"A text is a tensor or a list of one; this list has {len(given)}.")
        given = given[0]
    return given[None] if given.ndim == 2 else given


class _Drawing:
    """Calls of one transformer, each with the captions before the prompt."""

    def __init__(
        self,
        family: Family,
        transformer: Any,
        regions: Regions,
        captions: Sequence[Tensor],
        prompt: Tensor,
        sway: Sway,
    ) -> None:
        self.family, self.transformer = family, transformer
        self.regions, self.sway = regions, sway
        self.captions, self.prompt = captions, prompt
        self.known = KnownTexts(prompt.shape[1])
        self.ends = list(accumulate((one.shape[1] for one in captions), initial=0))
        # By the picture's grid, the length of the prompt and the device: the same at every step.
        self.groups: dict[tuple[Grid, int, torch.device], dict[bool, RowGroups]] = {}

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The transformer's forward with the captions."""
        signature = inspect.signature(forward)

        def joined(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            text: Tensor = given[TEXT]
            drawn = self._drawn(text)
            self.known.see(drawn, [text.shape[1]])
            if not any(drawn):
                return forward(*args, **kwargs)
            self._check_mask(given)
            before = torch.cat([one.to(text) for one in self.captions], 1).expand(len(text), -1, -1)
            given[TEXT] = torch.cat((before, text), 1)
            if self.family.numbers:
                # All of them are 0: the model does not number its text.
                ids: Tensor = given[self.family.numbers]
                given[self.family.numbers] = torch.cat(
                    (ids.new_zeros((self.ends[-1], ids.shape[-1])), ids), -2
                )
            attention = _JoinedAttention(self._groups(text, given), drawn)
            with attention, self._numbered(text.shape[1]):
                found = forward(**given)
            if not attention.reached:
                raise UnsuitableModelError(
                    "No attention of the transformer was reached: other tokens are in its sequence "
                    "(control), or another attention backend than torch's own is set. Take that off."
                )
            return found

        return joined

    def _check_mask(self, given: dict[str, Any]) -> None:
        """Takes out a mask that hides nothing."""
        mask = given.get(self.family.mask)
        if mask is None:
            return
        if not bool((mask == 1).all()):
            raise UnsuitableModelError(MASKED)
        given[self.family.mask] = None

    @contextmanager
    def _numbered(self, prompt: int) -> Iterator[None]:
        """While a model numbers its text through, each text is numbered as if it were alone."""
        if not self.family.embedder:
            yield
            return
        embedder = getattr(self.transformer, self.family.embedder)
        lengths = [*(last - first for first, last in pairwise(self.ends)), prompt]
        places = torch.cat([torch.arange(length) for length in lengths])
        plain = embedder.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            picture, text = plain(*args, **kwargs)
            return picture, text[places.to(text.device)]

        with replaced(embedder, "forward", forward):
            yield

    def _drawn(self, text: Tensor) -> list[bool]:
        """Which rows of a call are of the prompt."""
        prompt = self.prompt.to(text)
        if prompt.shape[1:] != text.shape[1:]:
            return [False] * len(text)
        return [any(torch.equal(row, one) for one in prompt) for row in text]

    def _groups(self, text: Tensor, given: Mapping[str, Any]) -> dict[bool, RowGroups]:
        """Who sees whom in rows of the prompt, and in others."""
        grid = self.family.grid(self.transformer, given)
        if grid is None:
            raise UnsuitableModelError(
                "Regions cannot be drawn beside reference pictures, or in several frames."
            )
        key = (grid, text.shape[1], text.device)
        if key not in self.groups:
            self.groups[key] = self._made_groups(*key)
        return self.groups[key]

    def _made_groups(self, grid: Grid, prompt: int, device: torch.device) -> dict[bool, RowGroups]:
        cells, length = grid[0] * grid[1], self.ends[-1] + prompt
        tokens = torch.arange(length + cells, device=device)
        picture = tokens[:cells] if self.family.behind else tokens[length:]
        words = tokens[cells:] if self.family.behind else tokens[:length]
        captions = [words[first:last] for first, last in pairwise(self.ends)]
        placement = self.regions.place(grid, None, device)
        nobodys = torch.full((cells,), -1, device=device)
        owner = nobodys if placement is None else seeing.owners(placement.covered.flatten(1))
        return {
            drawn: seeing.joint(words[self.ends[-1] :], captions, picture, own.to(device), self.sway)
            for drawn, own in ((True, owner), (False, nobodys))
        }


class _JoinedAttention(RowAttention):
    """Each row of prompt, captions and picture sees what it may."""

    def __init__(self, groups: Mapping[bool, RowGroups], drawn: Sequence[bool]) -> None:
        super().__init__()
        self.rows = [groups[one] for one in drawn]
        self.length = sum(len(piece) for piece in groups[True].pieces)

    def groups(self, query: Tensor, key: Tensor, *rest: Any, **options: Any) -> list[RowGroups] | None:
        if len(query) != len(self.rows) or not query.shape[2] == key.shape[2] == self.length:
            return None
        if (
            rest
            or any(options.get(name) for name in ("is_causal", "scale"))
            or options.get("attn_mask") is not None
        ):
            raise UnsuitableModelError(MASKED)
        self.reached = True
        return self.rows
