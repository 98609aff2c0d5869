"""Attention probabilities of chosen tokens, from a layer's queries and keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Attention scores held in memory at once; the queries of a larger layer are taken in parts.
SCORES_AT_ONCE = 1 << 24


def token_probabilities(query: Tensor, key: Tensor, heads: int, tokens: Sequence[int] | Tensor) -> Tensor:
    """The softmax over all T tokens in float32, of which these n tokens are handed out: (B, heads, L, n).

    query (B, L, heads * d) and key (B, T, heads * d) as the layer's own projections make them, of any dtype.
    Differentiable. Memory stays that of the result and `SCORES_AT_ONCE` numbers.
    """
    chosen = torch.as_tensor(tokens, dtype=torch.long, device=query.device)
    keys = key.float().unflatten(-1, (heads, -1)).transpose(1, 2)
    keys = keys * keys.shape[-1] ** -0.5
    part = max(1, SCORES_AT_ONCE // (key.shape[0] * heads * key.shape[1]))
    parts = [_probabilities(queries, keys, chosen) for queries in query.split(part, dim=1)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _probabilities(query: Tensor, keys: Tensor, chosen: Tensor) -> Tensor:
    queries = query.float().unflatten(-1, (keys.shape[1], -1)).permute(0, 2, 3, 1)
    # Tokens first: sums over them and picks from them run along the many queries, three times as fast on a
    # CPU as the usual order.
    scores = keys @ queries
    normaliser = scores.logsumexp(2, keepdim=True)
    return (scores[:, :, chosen] - normaliser).exp().transpose(2, 3)
