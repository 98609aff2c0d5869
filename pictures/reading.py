"""Pictures of people's own, read the same way wherever the pack reads one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageCms, UnidentifiedImageError

from .heads import plain_size

# Pictures of a data set, and all that are looked for where pictures are only looked at.
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
ALL_ENDINGS = (*PICTURE_ENDINGS, ".bmp", ".gif", ".tif", ".tiff", ".avif")
# What may be inside; of others Pillow would start a program (EPS) or guess.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "PPM", "TGA", "JPEG2000", "ICO")
# Of a picture whose shorter side is smaller a model sees next to nothing.
SMALL = 32
BACKGROUND = "white"
# First bytes of files that are often taken for pictures.
OTHER_FILES = (
    (0, b"\x00\x05\x16\x07", "it is a companion file that macOS writes; the picture has the name without ._"),
    (0, b"version https://git-lfs", "it is a Git LFS pointer; fetch the file itself with git lfs pull"),
    (4, b"ftyphei", "it is HEIC, which is not read; save it as PNG or JPEG"),
    (4, b"ftypmif1", "it is HEIF, which is not read; save it as PNG or JPEG"),
    (0, b"%!PS", "it is PostScript; save it as PNG or JPEG"),
    (0, b"%PDF", "it is a PDF; save it as PNG or JPEG"),
    (0, b"<", "it is a text, such as a web page or SVG, and no picture"),
)
_ORIENTATION = 0x0112
# Bytes of a file in which what comes before its picture usually lies.
_HEAD = 16_384
# Values for pictures that lie on their side.
_LYING = (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """A file that cannot be read as a picture."""


@dataclass(frozen=True)
class ReadPicture:
    """A picture in RGB, and sentences on what of its file is not in it or was decided."""

    image: Image.Image
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderContents:
    """Pictures of a folder in the order of their names, and files that are neither pictures nor theirs."""

    pictures: tuple[Path, ...]
    others: tuple[Path, ...] = field(default=())


def read_picture(path: str | PathLike[str] | BinaryIO, least: int | None = None) -> Image.Image:
    """The picture in 8-bit RGB, as `read_noted` reads it."""
    return read_noted(path, least).image


def read_noted(path: str | PathLike[str] | BinaryIO, least: int | None = None) -> ReadPicture:
    """A picture file in 8-bit RGB, the way up that its camera noted; `PictureError` says why there is none.

    Deeper values are scaled to 8 bits. Transparent parts are white, whatever colour lies below. CMYK follows
    the profile in the file, if there is one; Lab is converted. Of several frames or pages the first counts.
    `least`: a JPEG may come at a half, a quarter or an eighth of its size, which its decoder makes at a part
    of the cost, as long as no side has fewer pixels.
    """
    notes: list[str] = []
    try:
        with Image.open(path, formats=_formats()) as opened:
            frames = _frames(opened)
            # How deep values are stands in what the decoder is told, which is gone afterwards. Rotation is
            # read afterwards, because a TIFF may come upright.
            if least is not None:
                opened.draft(None, (least, least))  # pyright: ignore[reportArgumentType]
            deep = any(";16" in str(tile[3]) for tile in getattr(opened, "tile", ()))
            opened.load()
            turn = _turn(opened, notes)
            image = _rgb(opened, deep, notes)
    except MemoryError:
        raise
    # Decoders raise what they like on broken files: OSError, SyntaxError, struct.error, IndexError, …
    except Exception as error:
        raise PictureError(f"cannot be read as a picture: {_reason(path, error)}") from error
    if frames > 1:
        notes.insert(0, f"it has {frames} frames or pages; the first one is read")
    if turn is not None:
        image = image.transpose(turn)
    if min(image.size) < SMALL:
        notes.append(f"it is tiny: {image.width} × {image.height} pixels")
    return ReadPicture(image, tuple(notes))


def list_pictures(folder: Path, endings: Sequence[str] = PICTURE_ENDINGS) -> FolderContents:
    """What is in a folder, by the endings of names; folders below it are not looked into.

    Hidden files and macOS's companions (`._name.png`) are passed over. A file with a picture's name and
    another ending, `name.txt` or `name.json`, is the picture's.
    """
    # A link that leads nowhere is listed, to be said; a pipe would never end.
    files = sorted(
        file
        for file in folder.iterdir()
        if not file.name.startswith(".") and (file.is_file() or (file.is_symlink() and not file.exists()))
    )
    pictures = tuple(file for file in files if file.suffix.lower() in endings)
    stems = {file.stem for file in pictures}
    others = (file for file in files if file.suffix.lower() not in endings)
    return FolderContents(
        pictures,
        tuple(file for file in others if file.stem not in stems or file.suffix.lower() in ALL_ENDINGS),
    )


def list_pictures_below(folder: Path, apart: Path | None = None) -> FolderContents:
    """The same of a folder and all below it but hidden ones and `apart`; in the order of their names."""
    folders: list[Path] = []
    for where, below, _ in os.walk(folder, followlinks=True):
        one = Path(where)
        below[:] = [
            name
            for name in sorted(below)
            if not name.startswith(".") and not (apart and apart.exists() and apart.samefile(one / name))
        ]
        folders.append(one)
    found = [list_pictures(one) for one in folders]
    return FolderContents(
        tuple(sorted(picture for one in found for picture in one.pictures)),
        tuple(sorted(other for one in found for other in one.others)),
    )


def named(paths: Iterable[Path], most: int = 10) -> str:
    """The names of files for a sentence."""
    names = [path.name for path in paths]
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _reason(path: str | PathLike[str] | BinaryIO, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        start = _start(path)
        if not start:
            return "it is empty"
        told = (words for place, begin, words in OTHER_FILES if start[place:].startswith(begin))
        return next(told, f"it is none of the formats that are read ({', '.join(FORMATS)}), or cut off")
    said = str(error) or type(error).__name__
    if isinstance(path, (str, PathLike)):
        said = said.replace(str(path), Path(path).name)
    return f"the file is cut off or damaged ({said})" if _is_cut(said) else said


def _start(path: str | PathLike[str] | BinaryIO) -> bytes:
    if isinstance(path, (str, PathLike)):
        with Path(path).open("rb") as file:
            return file.read(64)
    path.seek(0)
    return path.read(64)


def _is_cut(said: str) -> bool:
    words = ("truncated", "broken", "unrecognized data stream", "corrupt", "decoder object")
    return any(word in said.lower() for word in words)


def _frames(image: Image.Image) -> int:
    """Frames of an animation or pages; further pictures of a camera's JPEG are its previews."""
    if image.format == "MPO":
        return 1
    try:
        return getattr(image, "n_frames", 1)
    except Exception:
        return 1  # what is broken behind the first one does not matter


def picture_size(path: str | PathLike[str] | BinaryIO) -> tuple[int, int]:
    """Width and height of the picture as `read_picture` would give it, from the head of its file alone."""
    try:
        size = _plain_size(path)
        if size is not None:
            return size
        with Image.open(path, formats=_formats()) as opened:
            turned = opened.getexif().get(_ORIENTATION, 1) in _LYING
            return (opened.height, opened.width) if turned else (opened.width, opened.height)
    except MemoryError:
        raise
    except Exception as error:
        raise PictureError(f"cannot be read as a picture: {_reason(path, error)}") from error


def _plain_size(path: str | PathLike[str] | BinaryIO) -> tuple[int, int] | None:
    """What a plain file's own bytes say, for which a PNG would otherwise be decoded whole."""
    if isinstance(path, (str, PathLike)):
        with Path(path).open("rb") as file:
            return _plain_size(file)

    def read_at(place: int, count: int) -> bytes:
        path.seek(place)
        return path.read(count)

    size = plain_size(read_at, read_at(0, _HEAD))
    path.seek(0)
    return size


def _turn(image: Image.Image, notes: list[str]) -> Image.Transpose | None:
    """The turn that puts a picture upright, as its camera noted it."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        notes.append("its EXIF data cannot be read, so that a camera's rotation is unknown")
        return None


def _rgb(image: Image.Image, deep: bool, notes: list[str]) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_16_bits(image, notes)
    if image.mode in ("I", "F"):
        return _stretched(image, notes)
    if image.mode == "CMYK":
        return _from_cmyk(image, notes)
    if image.mode == "LAB":
        return _converted(image, ImageCms.createProfile("LAB"))
    if deep and isinstance(image.info.get("transparency"), tuple):
        # Pillow keeps the high byte of a colour, and both of the transparent one.
        image.info["transparency"] = tuple(value >> 8 for value in image.info["transparency"])
    if image.has_transparency_data:
        return _on_background(image.convert("RGBA"), notes)
    return image.convert("RGB")


def _on_background(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.getchannel("A").getextrema() != (255, 255):
        notes.append(f"its transparent parts are read as {BACKGROUND}")
    background = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(background, image).convert("RGB")


def _from_16_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    transparent = image.info.get("transparency")
    values = image.convert("I")
    grey = values.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if not isinstance(transparent, int):
        return grey.convert("RGB")
    words = memoryview(values.tobytes()).cast("i")
    alpha = Image.frombytes("L", image.size, bytes(0 if word == transparent else 255 for word in words))
    return _on_background(Image.merge("LA", (grey, alpha)).convert("RGBA"), notes)


def _stretched(image: Image.Image, notes: list[str]) -> Image.Image:
    """A picture of whole or broken numbers of any size: from 0 to 1, to 255 or to 65535, else all of them."""
    low, high = image.getextrema()
    if not (isinstance(low, (int, float)) and isinstance(high, (int, float))):
        raise ValueError(f"its values are {low} to {high}")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("it has values that are no finite numbers")
    tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    top = next((top for top in tops if low >= 0 and high <= top), None)
    first, last = (0.0, top) if top is not None else (float(low), float(high))
    notes.append(f"its values, {low:g} to {high:g}, are read as {first:g} for black to {last:g} for white")
    scale = 255 / ((last - first) or 1.0)
    shift = 0.5 - first * scale
    return image.convert("F").point(lambda value: value * scale + shift).convert("L").convert("RGB")


def _from_cmyk(image: Image.Image, notes: list[str]) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            return _converted(image, ImageCms.ImageCmsProfile(BytesIO(profile)))
        except (ImageCms.PyCMSError, ImportError, OSError, ValueError):
            notes.append("its colour profile cannot be used")
    notes.append("its printing colours (CMYK) have no profile, so that colours are estimated")
    return image.convert("RGB")


def _converted(image: Image.Image, profile: object) -> Image.Image:
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), image.mode, "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is only where the image is changed in place
    return converted
