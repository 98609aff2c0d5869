"""Pictures of people's own, read the same way wherever a layout lies over them."""

from __future__ import annotations

import struct
from os import PathLike
from pathlib import Path

from PIL import Image, ImageOps

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
# The tag in which a camera notes how it was held, and its values for pictures that lie on their side.
_ORIENTATION, _LYING = 0x0112, frozenset({5, 6, 7, 8})


class PictureError(ValueError):
    """A file that cannot be read as a picture."""


def read_picture(path: str | PathLike[str]) -> Image.Image:
    """The picture in RGB, the way up that its camera noted; `PictureError` says why there is none."""
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    # What Pillow's decoders raise on broken files.
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error).replace(str(path), Path(path).name)
        raise PictureError(f"cannot be read as a picture: {reason}") from error


def picture_size(path: str | PathLike[str]) -> tuple[int, int]:
    """Width and height of the picture as `read_picture` would give it, from the head of its file alone."""
    try:
        with Image.open(path) as opened:
            turned = opened.getexif().get(_ORIENTATION, 1) in _LYING
            return (opened.height, opened.width) if turned else (opened.width, opened.height)
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error).replace(str(path), Path(path).name)
        raise PictureError(f"cannot be read as a picture: {reason}") from error
