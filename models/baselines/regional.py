"""Regions with prompts of their own, without training: what published methods do with their parts.

MultiDiffusion (arXiv 2302.08113) averages the noise predictions of regions. RPG (arXiv 2401.11708) puts what
regions attend to together in each cross-attention layer, and mixes it with what the whole prompt gives. Omost
(github.com/lllyasviel/Omost) lets each cell attend to all prompts over it at once, small ones more sharply.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Share of the run in which MultiDiffusion's regions see a plain colour around them.
BOOTSTRAP = 0.2
# RPG's weight of the whole prompt against that of the regions.
BASE_RATIO = 0.3


def average_predictions(whole: Tensor, parts: Tensor, covered: Tensor) -> Tensor:
    """MultiDiffusion's prediction (C, h, w): the mean over the regions that cover a cell, else the whole's.

    whole (C, h, w); parts (P, C, h, w), a prediction for each region; covered (P, h, w) bool.
    """
    weights = covered.to(parts.dtype)[:, None]
    count = weights.sum(0)
    mean = (parts * weights).sum(0) / count.clamp(min=1)
    return torch.where(count > 0, mean, whole)


def surround(sample: Tensor, around: Tensor, covered: Tensor) -> Tensor:
    """What each region sees while it finds its place (P, C, h, w): its own cells, a plain colour elsewhere.

    sample (C, h, w); around (P, C, h, w), colours at the same noise level; covered (P, h, w) bool.
    """
    return torch.where(covered[:, None], sample, around)


def attend_by_region(
    query: Tensor, keys: Tensor, values: Tensor, heads: int, whole: Tensor, covered: Tensor, base: float
) -> Tensor:
    """RPG's attention of one row (L, C), before the output projection.

    query (L, C); keys, values (P, T, C) of each region's prompt; whole (L, C), what the whole prompt gives;
    covered (P, L) bool, the last region in front. Cells of a region get `base` parts of the whole and the
    rest of their region's; others the whole's alone.
    """
    inputs = (query.expand(len(keys), -1, -1), keys, values)
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in inputs)
    parts = F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)
    composed = whole
    for part, cells in zip(parts, covered, strict=True):
        composed = torch.where(cells[:, None], base * whole + (1 - base) * part, composed)
    return composed


def attend_jointly(query: Tensor, keys: Tensor, values: Tensor, heads: int, covered: Tensor) -> Tensor:
    """Omost's attention of one row (L, C), before the output projection.

    query (L, C); keys, values (P, T, C) of all prompts, the whole's among them; covered (P, L) bool, of which
    some prompt covers every cell. A prompt's logits are multiplied by all cells over those it covers.
    """
    prompts, tokens = keys.shape[:2]
    q, k, v = (
        x.unflatten(-1, (heads, -1)).transpose(0, 1)
        for x in (query, keys.flatten(0, 1), values.flatten(0, 1))
    )
    sharpness = covered.shape[1] / covered.sum(1).clamp(min=1)
    # Multiplied logits of a small region need more digits, and room, than halves have.
    logits = (q.float() @ k.float().transpose(-1, -2)) * q.shape[-1] ** -0.5
    logits = logits * sharpness.to(logits).repeat_interleave(tokens)
    seen = covered.t()[:, :, None].expand(-1, prompts, tokens).flatten(1)
    weights = logits.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return (weights.to(v.dtype) @ v).transpose(0, 1).flatten(1)
