"""Attention that also says how much it attended: its output and the log of the sum of its exponentials.

Two results over disjoint keys with theirs make the attention over all those keys, exactly (the merge of
flash attention's parts, arXiv 2205.14135, section 3.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Attention scores held in memory at once where no kernel says its log-sum-exp.
SCORES_AT_ONCE = 1 << 24


def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """query (B, H, L, d), key and value (B, H, T, d) -> output (B, H, L, d), log-sum-exp (B, H, L).

    Without keys they are 0 and -inf. The log-sum-exp is float32 (of float64 float64), of scores scaled by
    d^-0.5. torch's own flash and memory-efficient kernels where they serve the device and dtype, else plain
    matrices in parts of `SCORES_AT_ONCE`.
    """
    if 0 in query.shape or 0 in key.shape:
        return torch.zeros_like(query), query.new_full(query.shape[:3], -math.inf, dtype=sums_dtype(query))
    # The kernels below are called past torch's own checks, and read neighbours without asking for strides.
    query, key, value = (one if one.stride(-1) == 1 else one.contiguous() for one in (query, key, value))
    if query.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # pyright: ignore
            query, key, value
        )
    # ROCm's kernels are not torch's own, and none takes heads that are not whole vectors.
    if query.device.type == "cuda" and torch.version.hip is None and query.shape[-1] % 8 == 0:
        if _flash_serves(query):
            found = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)  # pyright: ignore
        else:
            found = torch.ops.aten._scaled_dot_product_efficient_attention(  # pyright: ignore
                query, key, value, None, True
            )
        # The memory-efficient kernel rounds the rows of its log-sum-exp up.
        return found[0], found[1][..., : query.shape[2]]
    return attend_in_parts(query, key, value)


def attend_in_parts(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The same by plain matrices in float32 (of float64 float64), on any device."""
    dtype = sums_dtype(query)
    keys, values = key.to(dtype).transpose(2, 3), value.to(dtype)
    part = max(1, SCORES_AT_ONCE // max(1, key.shape[0] * key.shape[1] * key.shape[2]))
    outputs: list[Tensor] = []
    sums: list[Tensor] = []
    for rows in query.split(part, dim=2):
        scores = (rows.to(dtype) * query.shape[-1] ** -0.5) @ keys
        total = scores.logsumexp(-1)
        outputs.append(((scores - total[..., None]).exp() @ values).to(query.dtype))
        sums.append(total)
    return torch.cat(outputs, 2), torch.cat(sums, 2)


def _flash_serves(query: Tensor) -> bool:
    """Flash attention is made for 16 bits, heads up to 256 wide, and GPUs from Ampere on."""
    fits = query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] <= 256
    return fits and torch.cuda.get_device_capability(query.device) >= (8, 0)


def sums_dtype(query: Tensor) -> torch.dtype:
    """The precision of a log-sum-exp."""
    return torch.promote_types(query.dtype, torch.float32)
