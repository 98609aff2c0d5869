"""Inputs that several nodes have: the part of the sampling run, and the cross-attention layers."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hosts.comfyui.schema import socket
from ..models.sdxl.layer_presets import IN_TRANSFORMERS, LAYER_PRESETS


def window_inputs(start: str, end: str, *, advanced: bool = False) -> list[io.Input]:
    """The inputs start and end with these tooltips: fractions of the sampling run, all of it by default."""
    limits: dict[str, Any] = {"min": 0.0, "max": 1.0, "step": 0.01}
    if advanced:
        limits["advanced"] = True
    return [
        socket(io.Float, "start", default=0.0, **limits, tooltip=start),
        socket(io.Float, "end", default=1.0, **limits, tooltip=end),
    ]


def layers_input(
    use: str, *, advanced: bool = False, optional: bool = False, default: str | None = None
) -> io.Input:
    """The input layers: the presets, after a tooltip that begins with their use; the first is the default."""
    choices = "; ".join(f"{name}: {layers}" for name, layers in LAYER_PRESETS.items())
    return socket(
        io.Combo,
        "layers",
        options=list(LAYER_PRESETS),
        default=default or next(iter(LAYER_PRESETS)),
        tooltip=f"{use}: {choices}. {IN_TRANSFORMERS}",
        **({"advanced": True} if advanced else {}),
        **({"optional": True} if optional else {}),
    )


def silhouettes_input(whose: str) -> io.Input:
    """The input silhouettes_from, off by default; `whose` attention they are grown from."""
    return socket(
        io.Float,
        "silhouettes_from",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        optional=True,
        advanced=True,
        tooltip=(
            "Experimental. Try 0.3: after this share of the noise schedule each box is replaced by the "
            f"outline of what is growing in it, read from {whose} so far. Things come out smaller. 0 keeps "
            "the boxes to the end. Drawn masks stay."
        ),
    )
