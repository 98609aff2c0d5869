"""Folder of pictures with layouts beside them."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...layout import Layout, LayoutError
from ...pictures.reading import PictureError, picture_size, read_picture
from ..engine.fingerprint import of_texts
from ..engine.processes import this_process
from .errors import SourceError
from .looking.fitting import fitted, middle, nearest
from .looking.helpers import looked_at
from .looking.picture import Look
from .looks import Looks, look_at_all
from .picture_files import PictureFiles
from .picture_table import ENDING, PictureTable

logger = logging.getLogger("instance_composer")

# Layouts remembered, a few kB each: they come again every epoch.
_KEPT = 65_536
_SHOWN = 20
# A large JPEG is decoded at a part of its size, as long as it stays this many times as fine as what is made
# of it.
FINER = 2


@dataclass(frozen=True, eq=False)
class Example:
    """A picture (height, width, 3) of bytes and its layout."""

    image: np.ndarray
    layout: Layout


class LayoutFolder:
    """Every picture `name.png` (`PICTURE_ENDINGS`) in a folder that has a layout document `name.json`.

    Folders below it and tar shards are looked through too, as `PictureFiles` says; in place of a folder there
    may be a Parquet file, as `PictureTable` says, of which a mapped copy is kept in `kept`. Each is scaled to
    cover width × height pixels and cropped to its middle, layout included: what ends up outside is dropped,
    boxes that are cut are clipped. The layout's prompt is the picture's caption.

    `check` looks at every layout and at the head of every picture.
    """

    def __init__(self, folder: Path, width: int, height: int, kept: Path | None = None) -> None:
        if width % 8 or height % 8 or min(width, height) < 64:
            raise SourceError(f"the size is {width} × {height}; multiples of 8 from 64 up are allowed")
        self.width, self.height = width, height
        self.folder = folder
        table = folder.suffix == ENDING and folder.is_file()
        self._files = PictureTable(folder, kept) if table else PictureFiles(folder)
        # How many pictures were there and are left out.
        self.left_out = 0
        self._looks = Looks.blank(len(self._files))
        self._forget()
        if not len(self):
            raise SourceError(
                f"{folder} holds no pictures with layouts; for each picture name.png (or jpg, webp) there "
                "must be a layout document name.json"
            )

    def _forget(self) -> None:
        """Begin anew with what is remembered of pictures by their numbers."""
        self._remembered = lru_cache(maxsize=_KEPT)(self._document)
        self._fingerprint = self._stamps = None

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
                own = picture_size(file)
                file.seek(0)
                picture = read_picture(file, least=FINER * max(self.width, self.height))
        except (PictureError, OSError) as error:
            raise SourceError(f"{name} {error}") from error
        window = middle(picture.width, picture.height, self.width / self.height)
        pixels = (
            window.x0 * picture.width,
            window.y0 * picture.height,
            window.x1 * picture.width,
            window.y1 * picture.height,
        )
        size = (self.width, self.height)
        scaled = picture.resize(size, Image.Resampling.LANCZOS, box=pixels)
        return Example(np.asarray(scaled), self._layout(number, own))

    def check(
        self,
        sizes: Sequence[tuple[int, int]] = (),
        place: Path | None = None,
        *,
        write: bool = True,
        shown: bool = True,
    ) -> dict[str, str]:
        """What is wrong with which picture or layout, by the picture's name.

        Pictures are to be of the size, of `sizes` or else the folder's own, that is nearest to their
        proportion. What is found is kept in the folder `place`, if there is one, and not looked at again;
        without `write` it is only read there.
        """
        sizes = list(sizes) or [(self.width, self.height)]
        missing = self._looks.missing
        if not len(missing):
            return {}
        self._stamps = None if place is None else self._files.stamps(str(sizes))

        def look(numbers: np.ndarray) -> Iterator[Look | str]:
            # Those of this machine share its cores.
            processes = int(os.environ.get("LOCAL_WORLD_SIZE", this_process().num_processes))
            return looked_at(self._files.entry, numbers, sizes, processes)

        found = look_at_all(self._looks, look, self._stamps, place, write=write, shown=shown)
        known = self._looks.sizes[missing]
        small = int((known[:, 0].astype(bool) & (known < (self.width, self.height)).any(axis=1)).sum())
        if small and shown:
            logger.warning(
                "%d of %d pictures are smaller than %d × %d and are enlarged",
                small,
                len(self),
                self.width,
                self.height,
            )
        return {self.names[number]: reason for number, reason in sorted(found.items())}

    def leave_out(self, names: Iterable[str]) -> None:
        """Go on without these pictures."""
        left = frozenset(names)
        kept = np.flatnonzero([name not in left for name in self.names])
        self.left_out += len(self) - len(kept)
        stamps = self._stamps
        self._files.keep(kept)
        self._looks = self._looks.select(kept)
        self._forget()
        self._stamps = None if stamps is None else stamps[kept]
        if not len(self):
            raise SourceError(f"{self.folder} has no picture with a layout that can be read")

    def by_proportion(self, sizes: Sequence[tuple[int, int]]) -> list[LayoutFolder]:
        """The same pictures in folders of several sizes, each picture in that of the nearest proportion.

        Only those sizes that some picture falls to are there. All pictures have been looked at.
        """
        own = nearest(self._looks.sizes, sizes)
        chosen = [int(one) for one in np.unique(own)]
        return [self._part(sizes[one], np.flatnonzero(own == one)) for one in chosen]

    def _part(self, size: tuple[int, int], numbers: np.ndarray) -> LayoutFolder:
        part = copy.copy(self)
        part.width, part.height = size
        part.left_out = 0
        part._files, part._looks = copy.copy(self._files), self._looks.select(numbers)
        part._files.keep(numbers)
        part._forget()
        part._stamps = None if self._stamps is None else self._stamps[numbers]
        return part

    def document(self, number: int) -> dict[str, Any]:
        """The JSON of a picture's layout, scaled and cropped as the picture is; read from its file."""
        return self._remembered(number)

    def conditioning(self, number: int) -> tuple[float, ...]:
        """SDXL's six numbers of a picture: own height and width, top and left of the crop, height and width.

        The crop is counted in pixels after scaling, as SDXL was trained (arXiv 2307.01952, section 2.2).
        """
        width, height = self._size(number)
        window = middle(width, height, self.width / self.height)
        scale = self.width / ((window.x1 - window.x0) * width)
        top, left = round(window.y0 * height * scale), round(window.x0 * width * scale)
        return (height, width, top, left, self.height, self.width)

    @property
    def keys(self) -> np.ndarray:
        """What the latents of pictures are found by (n, 16); all have been looked at."""
        return self._looks.keys

    @property
    def things(self) -> np.ndarray:
        """How many things each layout has in what is trained (n); all have been looked at."""
        return self._looks.things

    @property
    def stamps(self) -> np.ndarray | None:
        """Stamps (n, 16) of pictures and layouts as they are now, where what is found is kept."""
        return self._stamps

    @property
    def fingerprint(self) -> str:
        """Which pictures these are, by name; what is in them may change."""
        if self._fingerprint is None:
            self._fingerprint = of_texts(self.names)
        return self._fingerprint

    def _size(self, number: int) -> tuple[int, int]:
        width, height = self._looks.sizes[number]
        if width:
            return int(width), int(height)
        with self._files.open(number) as file:
            return picture_size(file)

    def _document(self, number: int) -> dict[str, Any]:
        return self._layout(number, self._size(number)).to_dict()

    def _layout(self, number: int, size: tuple[int, int]) -> Layout:
        try:
            layout = Layout.from_json(self._files.layout(number)).checked()
        except (LayoutError, OSError) as error:
            raise SourceError(f"{self.names[number]}: {error}") from error
        return fitted(layout, size, self.width, self.height)


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
