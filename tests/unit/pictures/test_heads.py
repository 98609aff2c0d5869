"""Sizes from heads are those that the library finds, or are left to it."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from instance_composer.pictures.heads import plain_size
from instance_composer.pictures.reading import PictureError, picture_size

SIZE = (40, 24)


def of(content: bytes) -> tuple[int, int] | None:
    return plain_size(lambda place, count: content[place : place + count], content[:16_384])


def written(kind: str, mode: str = "RGB", **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, SIZE).save(out, kind, **options)
    return out.getvalue()


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """A chunk before the last one."""
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:-12] + chunk + png[-12:]


@pytest.mark.parametrize(
    "content",
    [
        written("JPEG"),
        written("JPEG", "L", comment=b"x" * 3000),
        written("JPEG", "CMYK"),
        written("JPEG", progressive=True, dpi=(300, 300), icc_profile=b"p" * 2000),
        written("PNG"),
        written("PNG", "P"),
        written("PNG", "I;16"),
        written("PNG", "LA", dpi=(72, 72)),
        with_chunk(written("PNG"), b"tEXt", b"parameters\0a cat"),
    ],
)
def test_plain_files_are_read_here(content):
    assert of(content) == SIZE == picture_size(io.BytesIO(content))


@pytest.mark.parametrize(
    "content",
    [
        written("JPEG", exif=rotated()),
        written("PNG", exif=rotated()),
        with_chunk(written("PNG"), b"eXIf", rotated().tobytes()[6:]),
    ],
)
def test_a_camera_s_rotation_is_left_to_the_library(content):
    assert of(content) is None
    assert picture_size(io.BytesIO(content)) == SIZE[::-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_a_head_that_is_cut_is_left_to_the_library(kind, share):
    content = written(kind)
    assert of(content[: int(share * len(content))]) is None


def test_a_cut_png_is_told_from_the_heads_of_its_parts():
    content = written("PNG")
    content = content[: content.index(b"IDAT") + 10]
    assert of(content) is None
    with pytest.raises(PictureError):
        picture_size(io.BytesIO(content))


@pytest.mark.parametrize("place", [16, 24, 25, 29])
def test_a_damaged_head_is_left_to_the_library(place):
    content = bytearray(written("PNG"))
    content[place] ^= 0x41
    assert of(bytes(content)) is None


def test_others_are_left_to_the_library():
    assert of(written("WEBP")) is None
    assert of(b"\xff\xd8" + b"\xff\xe0\0\x10" * 2) is None
    assert picture_size(io.BytesIO(written("WEBP"))) == SIZE
