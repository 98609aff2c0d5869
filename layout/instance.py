"""Canvas, instance and document: the fields of a layout, without reading, checking or writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .box import Box
from .mask import Mask

VERSION = 1

# Pictures are brought to sides of 64 pixels by a little stretching or cutting: what is so near counts as one.
_MOST_ROUNDED = 0.05


@dataclass(frozen=True)
class Canvas:
    """Size of the picture in pixels; `extra` holds keys of other programs, kept on a round trip."""

    width: int = 1024
    height: int = 1024
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


def same_proportion(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) are one scaled, but for a twentieth."""
    flat, tall = one[0] * other[1], one[1] * other[0]
    return abs(flat - tall) <= _MOST_ROUNDED * max(flat, tall)


@dataclass(frozen=True)
class Instance:
    """One thing in the picture.

    `box` and `mask` are fractions of the canvas; a mask takes the place of the box. `strength` is 0 to 5
    (1 is as trained), `start` and `end` the part of the sampling run in 0 to 1 during which the instance
    counts, `color` "#rrggbb" or None for an automatic one, `locked` is for editors alone.
    """

    id: str
    box: Box
    caption: str = ""
    negative: str = ""
    mask: Mask | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    enabled: bool = True
    locked: bool = False
    color: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @property
    def bounds(self) -> Box:
        """The box around what counts: the mask's if there is a mask, else the box itself."""
        return self.box if self.mask is None else self.mask.bounds

    @property
    def active(self) -> bool:
        """Whether the instance takes part in a run: enabled, with a caption."""
        return self.enabled and bool(self.caption.strip())


@dataclass(frozen=True)
class Document:
    """A canvas with instances on it; their order is the stacking order, the last one in front."""

    instances: tuple[Instance, ...] = ()
    canvas: Canvas = Canvas()
    prompt: str = ""
    negative: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @property
    def active(self) -> tuple[Instance, ...]:
        """The instances that take part in a run: enabled, with a caption."""
        return tuple(instance for instance in self.instances if instance.active)
