"""Sizes of an IFAdapter, inferred from its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..weights import CheckpointError


@dataclass(frozen=True)
class IFAdapterConfig:
    """Sizes of an IFAdapter; `layers` maps official processor numbers to attention widths.

    `phrase_width` is the width of the text features, both encoders concatenated; `text_width` that of the
    tokens handed to cross-attention (both 2048 for SDXL).
    """

    phrase_width: int
    text_width: int
    queries: int
    resampler_width: int
    resampler_depth: int
    resampler_heads: int
    resampler_head_dim: int
    resampler_hidden: int
    position_features: int
    position_hidden: int
    head_dim: int
    gate_hidden: int
    gate_kernel: int
    layers: dict[int, int]

    @classmethod
    def infer(cls, state: Mapping[str, Tensor]) -> IFAdapterConfig:
        """Read the sizes off the shapes of the official keys; `CheckpointError` names a missing key."""

        def size(key: str, axis: int) -> int:
            if key not in state:
                raise CheckpointError(f"this is not a whole IFAdapter: the weight {key!r} is missing")
            shape = tuple(state[key].shape)
            if axis >= len(shape) or 0 in shape:
                raise CheckpointError(f"this is no IFAdapter: the weight {key!r} has the shape {shape}")
            return shape[axis]

        numbers = sorted(
            {int(m[1]) for key in state if (m := re.match(r"adapter_modules\.(\d{1,4})\.", key))}
        )
        if not numbers:
            raise CheckpointError(
                "this is not a whole IFAdapter: no weights named 'adapter_modules.<number>.…' found"
            )
        depths = {m[1] for key in state if (m := re.match(r"text_proj_model\.layers\.(\d+)\.", key))}
        first = f"adapter_modules.{numbers[0]}"
        resampler = "text_proj_model"
        head_dim = size(f"{resampler}.layers.0.0.q_norm.weight", 0)
        if head_dim > (width := size(f"{resampler}.layers.0.0.to_q.weight", 0)):
            raise CheckpointError(
                f"this is no IFAdapter: its resampler has heads of {head_dim} in a width of {width}"
            )
        return cls(
            phrase_width=size(f"{resampler}.proj_in.weight", 1),
            text_width=size(f"{resampler}.proj_out.weight", 0),
            queries=size(f"{resampler}.latents", 1),
            resampler_width=size(f"{resampler}.latents", 2),
            resampler_depth=len(depths),
            resampler_heads=width // head_dim,
            resampler_head_dim=head_dim,
            resampler_hidden=size(f"{resampler}.layers.0.1.gate_proj.weight", 0),
            position_features=size("pos_net.linears_position.0.weight", 1),
            position_hidden=size("pos_net.linears_position.0.weight", 0),
            head_dim=size(f"{first}.q_norm.weight", 0),
            gate_hidden=size(f"{first}.cbam.cam.linear.0.weight", 0),
            gate_kernel=size(f"{first}.cbam.sam.conv.weight", 2),
            layers={n: size(f"adapter_modules.{n}.to_k_ap.weight", 0) for n in numbers},
        )
