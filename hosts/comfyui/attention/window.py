"""Window of the sampling run in which a term or an instance acts, in fractions of the noise schedule."""

from __future__ import annotations

from typing import Protocol

Window = tuple[float, float]


class Sampling(Protocol):
    """ComfyUI's `model_sampling`: 0 per cent is the beginning of the whole schedule, 100 its end."""

    def percent_to_sigma(self, percent: float) -> float: ...


def check_window(start: float, end: float) -> None:
    """ValueError unless 0 <= start < end <= 1."""
    if not 0.0 <= start < end <= 1.0:
        raise ValueError(
            f"start is {start:g} and end is {end:g}: both are fractions of the sampling run from 0 to 1, and "
            "start comes before end. To switch the adapter off, set strength to 0."
        )


def acts(window: Window, sigma: float, sampling: Sampling) -> bool:
    """True if the noise level `sigma` lies in the window; an end of 1 sets no limit."""
    start, end = window
    if sigma > sampling.percent_to_sigma(start):
        return False
    return end >= 1.0 or sigma > sampling.percent_to_sigma(end)
