"""Folder of pictures with layouts beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...layout import Box, Layout, LayoutError
from ...layout.transform import crop, resize_canvas
from ...pictures.reading import PICTURE_ENDINGS, PictureError, read_picture
from .errors import SourceError


@dataclass(frozen=True, eq=False)
class Example:
    """A picture (height, width, 3) of bytes and its layout."""

    image: np.ndarray
    layout: Layout


class LayoutFolder:
    """Every picture `name.png` (`PICTURE_ENDINGS`) in a folder that has a layout document `name.json`.

    Each is scaled to cover width × height pixels and cropped to its middle, layout included: what ends up
    outside is dropped, boxes that are cut are clipped. The layout's prompt is the picture's caption.
    """

    def __init__(self, folder: Path, width: int, height: int) -> None:
        if width % 8 or height % 8 or min(width, height) < 64:
            raise SourceError(f"the size is {width} × {height}; multiples of 8 from 64 up are allowed")
        self.width, self.height = width, height
        self.folder, self.names = folder, _pictures_with_layouts(folder)
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
            layout = Layout.from_json(file.with_suffix(".json").read_bytes()).checked()
            picture = read_picture(file)
        except (LayoutError, PictureError, OSError) as error:
            raise SourceError(f"{file.name}: {error}") from error
        window = _middle(picture.width, picture.height, self.width / self.height)
        pixels = (
            window.x0 * picture.width,
            window.y0 * picture.height,
            window.x1 * picture.width,
            window.y1 * picture.height,
        )
        size = (self.width, self.height)
        fitted = picture.resize(size, Image.Resampling.LANCZOS, box=pixels)
        return Example(np.asarray(fitted), resize_canvas(crop(layout, window), *size))


def _pictures_with_layouts(folder: Path) -> list[str]:
    """Names of the pictures, in order, from one look into the folder."""
    if not folder.is_dir():
        return []
    pictures: list[str] = []
    layouts: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue  # hidden, or macOS's companion of a picture
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
