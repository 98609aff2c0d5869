"""Attribute concentration in training: losses of a batch over layers and sampling steps, with gradient.

Source: CoMat (arXiv 2404.03653), attribute concentration. The released code sums over sizes of maps and over
steps, which its weights (1e-3 and 5e-5) belong to; the paper has one map.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal

from torch import Tensor

from ..concentration.losses import pixel_loss_official, token_loss, token_loss_official
from ..entities.extraction import EntityTokens

Form = Literal["released", "paper"]
# Maps (B, heads, h, w, tokens) of the layers that count together, by what they have in common.
LayerMaps = Mapping[Hashable, Sequence[Tensor]]


def concentratable(entities: Iterable[EntityTokens]) -> list[EntityTokens]:
    """Entities that a mask of their noun can tell something about: with modifiers, a place in the picture and
    tokens, and the only ones of their noun.
    """
    found = list(entities)
    counts = Counter(one.entity.noun for one in found)
    return [
        one
        for one in found
        if one.entity.modifiers
        and one.entity.localisable
        and one.modifier_tokens
        and one.noun_tokens
        and counts[one.entity.noun] == 1
    ]


def attribute_concentration(
    steps: Iterable[LayerMaps],
    masks: Sequence[Tensor],
    groups: Sequence[Sequence[Sequence[int]]],
    form: Form = "released",
) -> tuple[Tensor, Tensor]:
    """Token and pixel loss of a batch: sums over steps and sizes, divided by the number of pictures.

    `masks` and `groups` have for each picture its entities' masks (E, H, W), all zero for what is not in the
    picture, and their tokens. A token loss is summed over layers: "released" is the squared share outside the
    mask, averaged over an entity's tokens; "paper" the share itself, summed over them.
    """
    token_of = token_loss_official if form == "released" else token_loss
    maps_of_steps = [maps for one in steps for maps in one.values()]
    if not maps_of_steps:
        raise ValueError("there are no attention maps; record at least one step")
    token = pixel = maps_of_steps[0][0].new_zeros(())
    for maps in maps_of_steps:
        for row, (mask, group) in enumerate(zip(masks, groups, strict=True)):
            if len(group):
                of_row = [one[row] for one in maps]
                token = token + token_of(of_row, mask, group)
                pixel = pixel + pixel_loss_official(of_row, mask, group)
    return token / len(masks), pixel / len(masks)
