"""Attention probabilities of chosen tokens, from a layer's queries and keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Attention scores held in memory at once; the queries of a larger layer are taken in parts.
SCORES_AT_ONCE = 1 << 24


def token_probabilities(
    query: Tensor, key: Tensor, heads: int, tokens: Sequence[int] | Tensor | None = None
) -> Tensor:
    """The softmax over all T tokens in float32, of which these n are handed out: (B, heads, L, n).

    query (B, L, heads * d) and key (B, T, heads * d) as the layer's own projections make them, of any dtype;
    `tokens` None for all T. Differentiable. Memory stays that of the result and 2 * SCORES_AT_ONCE numbers.
    """
    return token_rows(query, key, heads, tokens).transpose(2, 3)


def token_rows(
    query: Tensor, key: Tensor, heads: int, tokens: Sequence[int] | Tensor | None = None
) -> Tensor:
    """`token_probabilities` as they are computed, tokens first: (B, heads, n, L), contiguous.

    Sums over tokens and picks from them then run along the many queries, three times as fast on a CPU.
    """
    chosen = None if tokens is None else torch.as_tensor(tokens, dtype=torch.long, device=query.device)
    keys, queries = split_heads(key, heads), split_heads(query, heads).transpose(1, 2)
    part = max(1, SCORES_AT_ONCE // (keys.shape[0] * keys.shape[1]))
    parts = [_rows(keys, some, chosen) for some in queries.split(part, dim=2)]
    rows = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return rows.unflatten(0, (-1, heads))


def split_heads(features: Tensor, heads: int) -> Tensor:
    """(B, n, heads * d) -> (B * heads, n, d) in float32, with at most one copy, which the cast makes too."""
    split = features.unflatten(-1, (heads, -1)).transpose(1, 2)
    if len(split) > 1:
        split = split.to(torch.float32, memory_format=torch.contiguous_format)
    return split.float().flatten(0, 1)


def _rows(keys: Tensor, queries: Tensor, chosen: Tensor | None) -> Tensor:
    """keys (N, T, d) and queries (N, d, L) -> (N, n, L)."""
    unused = torch.empty(1, 1, 1, dtype=keys.dtype, device=keys.device)
    scores = torch.baddbmm(unused, keys, queries, beta=0, alpha=keys.shape[-1] ** -0.5)
    probabilities = scores.softmax(1)
    return probabilities if chosen is None else probabilities.index_select(1, chosen)
