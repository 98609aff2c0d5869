"""Silhouettes in a sampling run: maps gathered while boxes act, and what is grown from them for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ....models.regions import Regions
from ....models.silhouettes import GatheredMaps, Silhouettes, grow_silhouettes
from .run_cache import RunCache
from .window import Sampling, Window, acts


@dataclass(frozen=True, eq=False)
class Growing:
    """When silhouettes take the place of boxes, a share of the noise schedule, and who is told what came out.

    `names` are those of the regions, for `tell`.
    """

    since: float
    names: tuple[str, ...]
    tell: Callable[[str], None]

    def gathers(self, sigma: float, sampling: Sampling) -> bool:
        """True at noise levels at which the boxes still act."""
        return acts((0.0, self.since), sigma, sampling)


@runtime_checkable
class GrowingTerm(Protocol):
    """A term whose own regions may become silhouettes."""

    @property
    def growing(self) -> Growing | None: ...

    def with_growing(self, growing: Growing) -> Any:
        """The same term with these."""
        ...


def check_since(since: float, window: Window) -> None:
    """ValueError for silhouettes that would begin before there are maps, or after everything has ended."""
    start, end = window
    if since and not start < since < end:
        raise ValueError(
            f"silhouettes_from is {since:g}, start is {start:g} and end is {end:g}: silhouettes are grown "
            "from the attention of the steps after start and act until end, so they begin between the two. "
            "Choose 0.2 to 0.4, or 0 for boxes to the end."
        )


class Grown:
    """The silhouettes of one run, of regions that one or several conditionings share."""

    def __init__(self, growing: Growing, regions: Regions, cache: RunCache) -> None:
        self._growing = growing
        self._cache = cache
        self._boxes = regions
        self._maps = GatheredMaps()
        self._rows: dict[int, tuple[Regions, ...]] = {}

    @classmethod
    def of(cls, growing: Growing, regions: Regions, cache: RunCache) -> Grown:
        """Those of these regions in this run; the same for every conditioning that has them."""
        return cache.get(("silhouettes", growing, regions), lambda: cls(growing, regions, cache))

    def add(self, maps: Tensor, guiding: bool = False) -> None:
        """Maps (B, P, h, w) of one layer at one step, for a batch of B pictures.

        `guiding`: of a term that reads them where it guides. Others read nothing in what runs aside, which
        would count their step twice, or oftener where blocks are computed again.
        """
        if guiding == self._cache.aside and not self._rows:  # going back to more noise changes nothing
            self._maps.add(maps.detach())

    def rows(self, count: int) -> tuple[Regions, ...]:
        """The regions of each of `count` pictures; from the first call on they stay as they are."""
        if count not in self._rows:
            maps = self._maps.mean(count)
            grown = [] if maps is None else [grow_silhouettes(one, self._boxes) for one in maps]
            self._rows[count] = tuple(one.regions for one in grown) or (self._boxes,) * count
            self._growing.tell(self._sentence(grown))
        return self._rows[count]

    def _sentence(self, grown: list[Silhouettes]) -> str:
        if not grown:
            since = self._growing.since
            begins = min((start for start, _ in self._boxes.windows), default=0.0)
            if begins >= since:
                return (
                    f"No silhouettes: silhouettes_from is {since:g}, and no region acts before {begins:g}. "
                    "Every region keeps its box. Raise silhouettes_from above that, or let regions begin "
                    "earlier."
                )
            return (
                "No silhouettes: no step ran before silhouettes_from, so every region keeps its box. Raise "
                "it, or start from more noise (denoise)."
            )
        said: list[str] = []
        for index, name in enumerate(self._growing.names):
            x0, y0, x1, y1 = self._boxes.boxes[index]
            if self._boxes.masks[index] is not None or x1 <= x0 or y1 <= y0:
                continue  # has a shape of its own, or no place
            shares = [one.shares[index] for one in grown]
            kept = [f"{share:.0%} of its box" if share is not None else "its box" for share in shares]
            reason = " (its attention is even there)" if None in shares else ""
            said.append(f"{name}: {', '.join(kept)}{reason}")
        return f"Silhouettes: {'; '.join(said)}." if said else "No silhouettes: every region has a mask."
