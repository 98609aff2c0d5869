"""The resampler: a phrase's text features become a few appearance tokens."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RMS_EPSILON = 1e-6


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Root-mean-square normalisation over the last axis in float32, scaled by 1 + weight (Gemma's form)."""
    x = x.float()
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPSILON)
    return x if weight is None else x * (1.0 + weight.to(x))


class HeadNorm(nn.Module):
    """Per-head RMS normalisation with factor 1 + weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight).to(x.dtype)


def visible_words(attention_mask: Tensor, layer: int) -> Tensor:
    """Text positions that resampler layer `layer` (from 0) sees: (P, T) 0/1 -> (P, T) bool.

    With c words (positions 1..c between start and end of text) layer 0 sees all of them, layer k > 0
    sees words 1..c-1-k and word c. The published weights were trained with code that erased start and
    end of text from the mask in place once per layer, finding "the end" anew each time in the mask
    already erased; this is that behaviour as a formula. An empty phrase shows nothing.
    """
    position = torch.arange(attention_mask.shape[-1], device=attention_mask.device)
    words = attention_mask.sum(-1, keepdim=True) - 2
    first = position <= (words if layer == 0 else words - 1 - layer)
    return (position >= 1) & (first | (position == words))


class PhraseAttention(nn.Module):
    """Latents attend to the phrase's tokens and to themselves."""

    def __init__(self, width: int, heads: int, head_dim: int, operations: ModuleType | Any) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.norm1 = operations.LayerNorm(width)
        self.norm2 = operations.LayerNorm(width)
        self.to_q = operations.Linear(width, inner, bias=False)
        self.to_kv = operations.Linear(width, 2 * inner, bias=False)
        self.to_out = operations.Linear(inner, width, bias=False)
        self.q_norm = HeadNorm(head_dim)
        self.k_norm = HeadNorm(head_dim)

    def forward(self, text: Tensor, latents: Tensor, visible: Tensor) -> Tensor:
        latents = self.norm2(latents)
        keys, values = self.to_kv(torch.cat((self.norm1(text), latents), dim=1)).chunk(2, dim=-1)
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.to_q(latents), keys, values)
        )
        mask = torch.cat((visible, visible.new_ones(len(visible), latents.shape[1])), dim=1)
        out = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, attn_mask=mask[:, None, None])
        return self.to_out(out.transpose(1, 2).flatten(2))


class GatedFeedForward(nn.Module):
    """Gated feed-forward of the resampler; its input is not normalised, its hidden layer is."""

    def __init__(self, width: int, hidden: int, operations: ModuleType | Any) -> None:
        super().__init__()
        self.gate_proj = operations.Linear(width, hidden, bias=False)
        self.up_proj = operations.Linear(width, hidden, bias=False)
        self.down_proj = operations.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x)
        return self.down_proj(rms_norm(hidden).to(x.dtype))


class Resampler(nn.Module):
    """Text features (P, T, text width), 0/1 mask (P, T) -> appearance tokens (P, queries, output width).

    Source: IFAdapter, equation 3 (the term Resampler(Q_a, K_l, V_l)); structure from the released code.
    """

    def __init__(
        self,
        *,
        text_width: int,
        output_width: int,
        width: int,
        depth: int,
        heads: int,
        head_dim: int,
        queries: int,
        hidden: int,
        operations: ModuleType | Any = nn,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(1, queries, width))
        self.proj_in = operations.Linear(text_width, width)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                (
                    PhraseAttention(width, heads, head_dim, operations),
                    GatedFeedForward(width, hidden, operations),
                )
            )
            for _ in range(depth)
        )
        self.attention_norm = operations.LayerNorm(width)
        self.proj_out = operations.Linear(width, output_width)
        self.norm_out = operations.LayerNorm(output_width)

    def forward(self, text: Tensor, attention_mask: Tensor) -> Tensor:
        text = self.proj_in(text)
        # Bare parameters are not cast by a host's operations, so follow the input here.
        latents = self.latents.to(text).expand(len(text), -1, -1)
        for number, (attention, feed_forward) in enumerate(cast("Iterable[nn.ModuleList]", self.layers)):
            latents = latents + attention(text, latents, visible_words(attention_mask, number))
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(self.attention_norm(latents)))
