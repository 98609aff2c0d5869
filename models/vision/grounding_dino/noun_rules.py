"""Rules by which a query of Grounding DINO has found a noun of its caption, and how surely.

A query is a box with a score in 0..1 for each token of the caption. The rules differ in which of these scores
have to exceed the thresholds, so that they find different boxes with the same network. Annotation goes by
`highest_average`, Segment Entities by `exact_phrase`, the benchmark COCO-MIG by `surest_token`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from .captions import Caption
from .conversion import STOP

Match: TypeAlias = tuple[int, int, float]
"""Index of a query, index of the noun it has found, score in 0..1."""

NounRule: TypeAlias = Callable[[Tensor, Caption, float, float], list[Match]]
"""Scores (Q, T) of queries for tokens, their caption, box threshold, text threshold -> matches by query."""


def highest_average(
    scores: Tensor, caption: Caption, box_threshold: float, text_threshold: float
) -> list[Match]:
    """The noun whose tokens score highest on average, which has to be above the text threshold.

    A query counts if one token of any noun is above the box threshold; the match has the highest score.
    """
    # A noun that is longer than what the network reads is judged by the part that is read.
    tokens = [[place for place in some if place < scores.shape[1]] for some in caption.positions]
    known = [index for index, some in enumerate(tokens) if some]
    if not known:
        return []
    highest = torch.stack([scores[:, tokens[index]].amax(1) for index in known], 1).amax(1)
    average, which = torch.stack([scores[:, tokens[index]].mean(1) for index in known], 1).max(1)
    counting = torch.nonzero((highest > box_threshold) & (average > text_threshold))[:, 0].tolist()
    return [(query, known[int(which[query])], float(highest[query])) for query in counting]


def exact_phrase(
    scores: Tensor, caption: Caption, box_threshold: float, text_threshold: float
) -> list[Match]:
    """The noun that is the query's phrase, the tokens above the text threshold: neither more nor less.

    A query counts if any token, stops included, is above the box threshold; the match has the highest score.
    Source: CoMat (arXiv 2404.03653).
    """
    known = {noun: index for index, noun in enumerate(caption.nouns)}
    # The first and last token and the stops between nouns are no words.
    words = [place for place in range(1, len(caption.ids) - 1) if caption.ids[place] != STOP]
    found: list[Match] = []
    for query in torch.nonzero(scores.amax(1) > box_threshold)[:, 0].tolist():
        phrase = tuple(caption.ids[place] for place in words if scores[query, place] > text_threshold)
        if phrase in known:
            found.append((query, known[phrase], float(scores[query].max())))
    return found


def surest_token(
    scores: Tensor, caption: Caption, box_threshold: float, text_threshold: float
) -> list[Match]:
    """The caption's only noun, for every query of which any token at all is above the box threshold.

    Start, end and stop count as the words do, and the text threshold plays no part: with one noun there is
    nothing to choose. The match has the highest score. ValueError for a caption of several nouns.
    Source: `predict` of GroundingDINO (groundingdino/util/inference.py), which MIG_Bench scores by.
    """
    if len(caption.nouns) > 1:
        raise ValueError(f"a caption of one noun is needed, got {len(caption.nouns)}; look for each alone")
    highest = scores.amax(1)
    counting = torch.nonzero(highest > box_threshold)[:, 0].tolist() if caption.nouns else []
    return [(query, 0, float(highest[query])) for query in counting]
