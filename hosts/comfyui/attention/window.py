"""Window of the sampling run in which a term or an instance acts, in fractions of the noise schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from .run_cache import RunCache

Window = tuple[float, float]


class Sampling(Protocol):
    """ComfyUI's `model_sampling`: 0 per cent is the beginning of the whole schedule, 100 its end."""

    def percent_to_sigma(self, percent: float) -> float: ...


class CachedSampling:
    """A `Sampling` asked once in a run for each percentage; ComfyUI makes a tensor for each answer."""

    def __init__(self, sampling: Sampling, cache: RunCache) -> None:
        self._sampling = sampling
        self._cache = cache

    def percent_to_sigma(self, percent: float) -> float:
        return self._cache.get((self._sampling, percent), lambda: self._sampling.percent_to_sigma(percent))


# Of instances in a sentence.
MOST_NAMED = 10


def check_window(start: float, end: float, way_out: str) -> None:
    """ValueError unless 0 <= start < end <= 1; `way_out` says what else a user of the node may have meant."""
    if not 0.0 <= start < end <= 1.0:
        raise ValueError(
            f"start is {start:g} and end is {end:g}: both are fractions of the sampling run from 0 to 1, and "
            f"start comes before end. {way_out}"
        )


def tell_of_ranges(
    node: str, window: Window, ranges: Iterable[tuple[str, Window]], tell: Callable[[str], None]
) -> Callable[[str], None]:
    """Tells which instances, by name and own range, never act in a node's window.

    Returns what tells further sentences: where the page shows the last one alone, together with this.
    """
    start, end = window
    beside = [
        f"{name} ({first:g} to {last:g})"
        for name, (first, last) in ranges
        if max(start, first) >= min(end, last)
    ]
    if not beside:
        return tell
    more = f" and {len(beside) - MOST_NAMED} more" if len(beside) > MOST_NAMED else ""
    said = (
        f"{node} acts from start {start:g} to end {end:g}. The own start and end of these lie outside, so "
        f"they never act: {', '.join(beside[:MOST_NAMED])}{more}. Widen the one or the other."
    )
    tell(said)
    return lambda more: tell(f"{said} {more}")


def acts(window: Window, sigma: float, sampling: Sampling) -> bool:
    """True if the noise level `sigma` lies in the window; a start of 0 and an end of 1 set no limit."""
    start, end = window
    # A flow model's schedule may begin above what ComfyUI says of 0 per cent: by rounding, or made by hand.
    if start > 0.0 and sigma > sampling.percent_to_sigma(start):
        return False
    return end >= 1.0 or sigma > sampling.percent_to_sigma(end)
