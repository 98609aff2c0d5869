"""Pictures of people's own, read the same way wherever a layout lies over them."""

from __future__ import annotations

import struct
from os import PathLike
from pathlib import Path

from PIL import Image, ImageOps

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


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
