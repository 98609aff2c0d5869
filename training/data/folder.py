"""Folder of pictures with layouts beside them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...layout import Box, Layout, LayoutError
from ...layout.transform import crop, resize_canvas
from ...pictures.reading import PICTURE_ENDINGS, PictureError, picture_size, read_picture
from ..engine.fingerprint import of_texts
from ..engine.progress import progress_bar
from .errors import SourceError

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
    """Every picture `name.png` (jpg, jpeg, webp) in a folder that has a layout document `name.json`.

    Each is scaled to cover width × height pixels and cropped to its middle, layout included: what ends up
    outside is dropped, boxes that are cut are clipped. The layout's prompt is the picture's caption.

    `check` looks at every layout and at the head of every picture.
    """

    def __init__(self, folder: Path, width: int, height: int) -> None:
        if width % 8 or height % 8 or min(width, height) < 64:
            raise SourceError(f"the size is {width} × {height}; multiples of 8 from 64 up are allowed")
        self.width, self.height = width, height
        self.folder, self.names = folder, _pictures_with_layouts(folder)
        self._sizes: dict[str, tuple[int, int]] = {}
        self._remembered = lru_cache(maxsize=_KEPT)(self._document)
        if not self.names:
            raise SourceError(
                f"{folder} holds no pictures with layouts; for each picture name.png (or jpg, webp) there "
                "must be a layout document name.json"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Example:
        file = self.folder / self.names[number]
        try:
            picture = read_picture(file)
        except (PictureError, OSError) as error:
            raise SourceError(f"{file.name} {error}") from error
        window = _middle(picture.width, picture.height, self.width / self.height)
        pixels = (
            window.x0 * picture.width,
            window.y0 * picture.height,
            window.x1 * picture.width,
            window.y1 * picture.height,
        )
        size = (self.width, self.height)
        fitted = picture.resize(size, Image.Resampling.LANCZOS, box=pixels)
        return Example(np.asarray(fitted), self._layout(file, picture.size))

    def check(self, shown: bool = True) -> dict[str, str]:
        """What is wrong with which picture or layout, by the picture's name; notes sizes on the way."""
        wrong: dict[str, str] = {}
        small = 0
        with progress_bar("check", "picture", len(self), shown=shown) as progress:
            for name in self.names:
                file = self.folder / name
                try:
                    width, height = picture_size(file)
                    Layout.from_json(file.with_suffix(".json").read_bytes()).checked()
                    self._sizes[name] = (width, height)
                    small += width < self.width or height < self.height
                except (LayoutError, PictureError, OSError) as error:
                    wrong[name] = " ".join(str(error).split())
                progress.update()
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
        self.names = [name for name in self.names if name not in left]
        self._remembered.cache_clear()
        if not self.names:
            raise SourceError(f"{self.folder} has no picture with a layout that can be read")

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
        with (self.folder / self.names[number]).open("rb") as file:
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
        name = self.names[number]
        if name not in self._sizes:
            self._sizes[name] = picture_size(self.folder / name)
        return self._sizes[name]

    def _document(self, number: int) -> dict[str, Any]:
        return self._layout(self.folder / self.names[number], self._size(number)).to_dict()

    def _layout(self, file: Path, size: tuple[int, int]) -> Layout:
        try:
            layout = Layout.from_json(file.with_suffix(".json").read_bytes()).checked()
        except (LayoutError, OSError) as error:
            raise SourceError(f"{file.name}: {error}") from error
        return resize_canvas(crop(layout, _middle(*size, self.width / self.height)), self.width, self.height)


def told(wrong: Mapping[str, str]) -> str:
    """Names with what is wrong with them, a line each, the first of many."""
    lines = [f"  {name}: {reason}" for name, reason in list(wrong.items())[:_SHOWN]]
    rest = [f"  and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return "\n".join([*lines, *rest])


def _pictures_with_layouts(folder: Path) -> list[str]:
    """Names of the pictures, in order, from one look into the folder."""
    if not folder.is_dir():
        return []
    pictures: list[str] = []
    layouts: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, ending = os.path.splitext(entry.name)
            if ending.lower() in PICTURE_ENDINGS:
                pictures.append(entry.name)
            elif ending == ".json" and entry.is_file():
                layouts.add(stem)
    return sorted(name for name in pictures if os.path.splitext(name)[0] in layouts)


def _middle(width: int, height: int, proportion: float) -> Box:
    """The largest part of a picture, in fractions, that has this width over height and the same centre."""
    share_x = min(1.0, height * proportion / width)
    share_y = min(1.0, width / proportion / height)
    return Box((1 - share_x) / 2, (1 - share_y) / 2, (1 + share_x) / 2, (1 + share_y) / 2)
