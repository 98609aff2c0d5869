"""What is compared of pictures instead of the pictures: size, digest, edges and colours, kept in files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..pictures.reading import read_picture
from ..pictures.shards import Shards

FOLDER = "fingerprints"
_EDGES, _COLORS = 8, 2
# Of 256 levels; cells of a plain background differ by less, by chance.
_NOISE = 3


@dataclass(frozen=True)
class Fingerprint:
    """A picture's width and height in pixels, a digest of its pixels, its edges and its colours.

    `edges`: 128 bits, whether a cell of an 8 × 8 grid is darker than its neighbour to the right, then below.
    `colors`: the means of red, green and blue in the four quarters, a byte each. All in hexadecimal digits.
    """

    width: int
    height: int
    digest: str
    edges: str
    colors: str

    @classmethod
    def of(cls, picture: Image.Image) -> Fingerprint:
        """The fingerprint of a picture in RGB."""
        grey = picture.convert("L").resize((_EDGES + 1, _EDGES + 1), Image.Resampling.BOX)
        cells = np.asarray(grey, dtype=np.int16)
        own = cells[:-1, :-1] + _NOISE
        right, down = own < cells[:-1, 1:], own < cells[1:, :-1]
        edges = np.packbits(np.concatenate((right.ravel(), down.ravel())))
        colors = picture.resize((_COLORS, _COLORS), Image.Resampling.BOX).tobytes()
        digest = hashlib.blake2b(picture.tobytes(), digest_size=16)
        return cls(picture.width, picture.height, digest.hexdigest(), edges.tobytes().hex(), colors.hex())


# What is known of a file by its name: its fingerprint, or why it cannot be read.
Known = dict[str, "Fingerprint | str"]


def fingerprint_pictures(
    pictures: Iterable[Path],
    folder: Path,
    share: tuple[int, int] = (0, 1),
    on_pictures: Callable[[int], object] = lambda count: None,
    source: Path | None = None,
) -> Known:
    """Fingerprints of all pictures, each made once and kept in `folder`; a file that changed is read again.

    What cannot be read is tried again by every call.
    `share` (n, count): only every count-th picture from the n-th on is read, into a file of its own; the
    others are as known as other shares have made them by now. Stopped at any time, the same call goes on.
    Pictures are known by the way to them from `source`, without it by their file's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place, total = share
    shards = Shards()
    kept = _read_all(folder)
    known: Known = {}
    own = folder / f"{place}-of-{total}.jsonl"
    _end_line(own)
    with own.open("a", encoding="utf-8") as file:
        for number, picture in enumerate(pictures):
            mine = number % total == place
            stamp = _stamp(picture, shards)
            name = picture.relative_to(source).as_posix() if source else picture.name
            before = kept.get((name, *stamp))
            if before is not None:
                known[name] = before
            elif mine:
                known[name] = found = _made(picture, shards)
                # Not why one cannot be read: a right or a disk that comes back leaves its file as it was.
                if isinstance(found, Fingerprint):
                    file.write(json.dumps({"name": name, "stamp": stamp, **asdict(found)}) + "\n")
                    file.flush()
            if mine:
                on_pictures(1)
    return known


def _made(picture: Path, shards: Shards) -> Fingerprint | str:
    try:
        return Fingerprint.of(read_picture(shards.picture(picture)))
    except (ValueError, OSError) as error:
        return str(error)


def _stamp(picture: Path, shards: Shards) -> list[int]:
    try:
        return shards.stamp(picture)
    except OSError:  # a link that leads nowhere; reading it says so
        return [0, 0]


def _read_all(folder: Path) -> dict[tuple[Any, ...], Fingerprint]:
    """By name and stamp: files of other shares may know a picture from before it changed."""
    found: dict[tuple[Any, ...], Fingerprint] = {}
    for file in sorted(folder.glob("*-of-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                values: dict[str, Any] = json.loads(line)
                key = (values.pop("name"), *values.pop("stamp"))
                found[key] = Fingerprint(**values)
            # The end of a line that was being written when its process was killed, or a failure as earlier
            # versions kept them: the picture is read again.
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
    return found


def _end_line(file: Path) -> None:
    """Let what is appended begin a line, where the last one was cut off."""
    if file.is_file() and (text := file.read_bytes()) and not text.endswith(b"\n"):
        with file.open("ab") as opened:
            opened.write(b"\n")
