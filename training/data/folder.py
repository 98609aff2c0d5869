"""Folder of pictures with layouts beside them."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...layout import Box, Layout, LayoutError
from ...layout.transform import crop, resize_canvas
from ...pictures.reading import PictureError, picture_size, read_picture
from ..engine.fingerprint import of_texts
from ..engine.progress import progress_bar
from .errors import SourceError
from .picture_files import PictureFiles

logger = logging.getLogger("instance_composer")

# Layouts remembered, a few kB each: they come again every epoch.
_KEPT = 65_536
# Bytes at both ends of a file that are looked at: with its length they change with any edit of a picture, and
# a million files are told apart without reading all of them.
_ENDS = 65_536
_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Example:
    """A picture (height, width, 3) of bytes and its layout."""

    image: np.ndarray
    layout: Layout


class LayoutFolder:
    """Every picture `name.png` (`PICTURE_ENDINGS`) in a folder that has a layout document `name.json`.

    Folders below it and tar shards are looked through too, as `PictureFiles` says. Each is scaled to cover
    width × height pixels and cropped to its middle, layout included: what ends up outside is dropped, boxes
    that are cut are clipped. The layout's prompt is the picture's caption.

    `check` looks at every layout and at the head of every picture.
    """

    def __init__(self, folder: Path, width: int, height: int) -> None:
        if width % 8 or height % 8 or min(width, height) < 64:
            raise SourceError(f"the size is {width} × {height}; multiples of 8 from 64 up are allowed")
        self.width, self.height = width, height
        self.folder, self._files = folder, PictureFiles(folder)
        # Width and height of each picture, 0 where nobody has looked.
        self._sizes = np.zeros((len(self._files), 2), np.int32)
        self._remembered = lru_cache(maxsize=_KEPT)(self._document)
        if not len(self):
            raise SourceError(
                f"{folder} holds no pictures with layouts; for each picture name.png (or jpg, webp) there "
                "must be a layout document name.json"
            )

    @property
    def names(self) -> Sequence[str]:
        """Names of the pictures, in order: the way to each from the folder."""
        return self._files.names

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Example:
        name = self.names[number]
        try:
            with self._files.open(number) as file:
                picture = read_picture(file)
        except (PictureError, OSError) as error:
            raise SourceError(f"{name} {error}") from error
        window = _middle(picture.width, picture.height, self.width / self.height)
        pixels = (
            window.x0 * picture.width,
            window.y0 * picture.height,
            window.x1 * picture.width,
            window.y1 * picture.height,
        )
        size = (self.width, self.height)
        fitted = picture.resize(size, Image.Resampling.LANCZOS, box=pixels)
        return Example(np.asarray(fitted), self._layout(number, picture.size))

    def check(self, shown: bool = True) -> dict[str, str]:
        """What is wrong with which picture or layout, by the picture's name; notes sizes on the way."""
        wrong: dict[str, str] = {}
        small = 0
        with progress_bar("check", "picture", len(self), shown=shown) as progress:
            for number, name in enumerate(self.names):
                progress.update()
                if self._sizes[number].all():
                    continue  # looked at before
                try:
                    with self._files.open(number) as file:
                        width, height = picture_size(file)
                    Layout.from_json(self._files.layout(number)).checked()
                    self._sizes[number] = width, height
                    small += width < self.width or height < self.height
                except (LayoutError, PictureError, OSError) as error:
                    wrong[name] = " ".join(str(error).split())
        if small and shown:
            logger.warning(
                "%d of %d pictures are smaller than %d × %d and are enlarged",
                small,
                len(self),
                self.width,
                self.height,
            )
        return wrong

    def leave_out(self, names: Iterable[str]) -> None:
        """Go on without these pictures."""
        left = frozenset(names)
        kept = np.flatnonzero([name not in left for name in self.names])
        self._files.keep(kept)
        self._sizes = self._sizes[kept]
        self._remembered.cache_clear()
        if not len(self):
            raise SourceError(f"{self.folder} has no picture with a layout that can be read")

    def by_proportion(self) -> list[LayoutFolder]:
        """The same pictures in folders of several sizes, each picture in that of the nearest proportion.

        Sizes have about as many pixels as this one's and proportions of 1 : 2 to 2 : 1; only those that some
        picture falls to are there.
        """
        sizes = proportions(self.width, self.height)
        ratios = np.log([width / height for width, height in sizes])
        own = np.array([self._size(number) for number in range(len(self))], np.float64)
        nearest = np.abs(np.log(own[:, 0] / own[:, 1])[:, None] - ratios).argmin(axis=1)
        chosen = [int(one) for one in np.unique(nearest)]
        return [self._part(sizes[one], np.flatnonzero(nearest == one)) for one in chosen]

    def _part(self, size: tuple[int, int], numbers: np.ndarray) -> LayoutFolder:
        part = copy.copy(self)
        part.width, part.height = size
        part._files, part._sizes = copy.copy(self._files), self._sizes[numbers]
        part._files.keep(numbers)
        part._remembered = lru_cache(maxsize=_KEPT)(part._document)
        return part

    def document(self, number: int) -> dict[str, Any]:
        """The JSON of a picture's layout, scaled and cropped as the picture is; read from its file."""
        return self._remembered(number)

    def conditioning(self, number: int) -> tuple[float, ...]:
        """SDXL's six numbers of a picture: own height and width, top and left of the crop, height and width.

        The crop is counted in pixels after scaling, as SDXL was trained (arXiv 2307.01952, section 2.2).
        """
        width, height = self._size(number)
        window = _middle(width, height, self.width / self.height)
        scale = self.width / ((window.x1 - window.x0) * width)
        top, left = round(window.y0 * height * scale), round(window.x0 * width * scale)
        return (height, width, top, left, self.height, self.width)

    def key(self, number: int) -> str:
        """What the latent of a picture is found by: a digest of its file's length and both ends."""
        with self._files.open(number) as file:
            length = file.seek(0, os.SEEK_END)
            digest = hashlib.sha256(length.to_bytes(8, "little"))
            for start in {0, max(0, length - _ENDS)}:
                file.seek(start)
                digest.update(file.read(_ENDS))
        return digest.hexdigest()

    @property
    def fingerprint(self) -> str:
        """Which pictures these are, by name; what is in them may change."""
        return of_texts(self.names)

    def _size(self, number: int) -> tuple[int, int]:
        if not self._sizes[number].all():
            with self._files.open(number) as file:
                self._sizes[number] = picture_size(file)
        width, height = self._sizes[number]
        return int(width), int(height)

    def _document(self, number: int) -> dict[str, Any]:
        return self._layout(number, self._size(number)).to_dict()

    def _layout(self, number: int, size: tuple[int, int]) -> Layout:
        try:
            layout = Layout.from_json(self._files.layout(number)).checked()
        except (LayoutError, OSError) as error:
            raise SourceError(f"{self.names[number]}: {error}") from error
        return resize_canvas(crop(layout, _middle(*size, self.width / self.height)), self.width, self.height)


def proportions(width: int, height: int) -> list[tuple[int, int]]:
    """Sizes with at most the pixels of width × height, from half to twice as wide as high.

    Sides are multiples of 64, as SDXL's buckets (arXiv 2307.01952, appendix I), of 32 below 512 pixels.
    """
    unit = 64 if min(width, height) >= 512 else 32
    pixels = width * height
    found: list[tuple[int, int]] = []
    for wide in range(unit, 2 * max(width, height) + unit, unit):
        high = pixels // wide // unit * unit
        if high >= 64 and wide >= 64 and wide <= 2 * high and high <= 2 * wide:
            found.append((wide, high))
    return found


def told(wrong: Mapping[str, str]) -> str:
    """Names with what is wrong with them, a line each, the first of many."""
    lines = [f"  {name}: {reason}" for name, reason in list(wrong.items())[:_SHOWN]]
    rest = [f"  and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return "\n".join([*lines, *rest])


def _middle(width: int, height: int, proportion: float) -> Box:
    """The largest part of a picture, in fractions, that has this width over height and the same centre."""
    share_x = min(1.0, height * proportion / width)
    share_y = min(1.0, width / proportion / height)
    return Box((1 - share_x) / 2, (1 - share_y) / 2, (1 + share_x) / 2, (1 + share_y) / 2)
