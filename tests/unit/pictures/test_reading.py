"""Picture files of every kind, and what is read of them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from instance_composer.pictures.reading import (
    ALL_ENDINGS,
    PictureError,
    list_pictures,
    read_noted,
    read_picture,
)

SIZE = (40, 36)
GREY, RGB, GREY_ALPHA, RGB_ALPHA = 0, 2, 4, 6
WHITE = (255, 255, 255)
TRANSPARENT = "its transparent parts are read as white"


def png(file, kind: int, values: tuple[int, ...], transparent: tuple[int, ...] = (), depth: int = 16):
    """A PNG of one colour, written byte for byte: Pillow writes few of these."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    letter = "H" if depth == 16 else "B"
    row = b"\0" + struct.pack(f">{len(values)}{letter}", *values) * SIZE[0]
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, depth, kind, 0, 0, 0))]
    if transparent:
        parts.append(chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    parts += [chunk(b"IDAT", zlib.compress(row * SIZE[1])), chunk(b"IEND", b"")]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return file


def color(image: Image.Image) -> tuple[int, ...]:
    """The one colour of a picture."""
    assert image.mode == "RGB"
    found = image.getcolors(1)
    assert found, "more than one colour"
    return found[0][1]  # pyright: ignore


@pytest.mark.parametrize("value", [0, 128, 129, 256, 257, 32768, 32896, 65534, 65535])
def test_sixteen_bits_of_grey_are_scaled(tmp_path, value):
    expected = (round(value / 257),) * 3
    assert color(read_picture(png(tmp_path / "grey.png", GREY, (value,)))) == expected
    for mode in ("I;16", "I;16B"):
        Image.new(mode, SIZE, value).save(tmp_path / "grey.tif")
        assert color(read_picture(tmp_path / "grey.tif")) == expected


def test_sixteen_bits_of_colour_are_scaled(tmp_path):
    values = (65535, 32896, 257)
    assert color(read_picture(png(tmp_path / "a.png", RGB, values))) == (255, 128, 1)
    assert color(read_picture(png(tmp_path / "b.png", RGB_ALPHA, (*values, 65535)))) == (255, 128, 1)
    assert color(read_picture(png(tmp_path / "c.png", GREY_ALPHA, (32896, 65535)))) == (128, 128, 128)


@pytest.mark.parametrize(
    ("kind", "values", "transparent", "depth"),
    [
        (GREY, (300,), (300,), 16),
        (GREY, (77,), (77,), 8),
        (RGB, (65535, 32896, 257), (65535, 32896, 257), 16),
        (RGB, (255, 128, 1), (255, 128, 1), 8),
        (RGB_ALPHA, (65535, 0, 0, 0), (), 16),
        (GREY_ALPHA, (0, 0), (), 16),
    ],
)
def test_colours_below_transparent_pixels_never_show(tmp_path, kind, values, transparent, depth):
    read = read_noted(png(tmp_path / "clear.png", kind, values, transparent, depth))
    assert (color(read.image), read.notes) == (WHITE, (TRANSPARENT,))


def test_transparency_of_palettes_and_in_part(tmp_path):
    palette = Image.new("P", SIZE, 3)
    palette.putpalette([10, 20, 30] * 256)
    for name in ("a.gif", "a.png"):
        palette.save(tmp_path / name, transparency=3)
        assert color(read_picture(tmp_path / name)) == WHITE
        palette.save(tmp_path / f"b{name}")
        assert color(read_picture(tmp_path / f"b{name}")) == (10, 20, 30)
    Image.new("RGBA", SIZE, (200, 0, 0, 128)).save(tmp_path / "half.png")
    assert color(read_picture(tmp_path / "half.png")) == (227, 127, 127)
    # An alpha channel without a transparent pixel is nothing to speak of.
    Image.new("RGBA", SIZE, (200, 0, 0, 255)).save(tmp_path / "whole.png")
    assert read_noted(tmp_path / "whole.png").notes == ()


def test_printing_colours_and_lab(tmp_path):
    for name in ("ink.jpg", "ink.tif"):
        Image.new("CMYK", SIZE, (0, 255, 255, 0)).save(tmp_path / name)
        read = read_noted(tmp_path / name)
        assert color(read.image) == (255, 0, 0)
        assert "no profile, so that colours are estimated" in read.notes[0]
        Image.new("CMYK", SIZE, (0, 255, 255, 0)).save(tmp_path / name, icc_profile=b"broken")
        assert read_noted(tmp_path / name).notes[0] == "its colour profile cannot be used"
    # L, a and b of sRGB's red.
    Image.new("LAB", SIZE, (136, 208, 195)).save(tmp_path / "lab.tif")
    red, green, blue = color(read_picture(tmp_path / "lab.tif"))
    assert red > 245
    assert max(green, blue) < 25


def ink_profile(lightness: int, a: int, b: int) -> bytes:
    """A profile of a press on which every ink is the same colour: Lab in bytes, a and b from -128."""
    curve, table = bytes(range(256)), bytes((lightness, a + 128, b + 128)) * 2**4
    matrix = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    look_up = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + curve * 4 + table + curve * 3
    size = 128 + 4 + 12 + len(look_up)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12)
    header += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(look_up)) + look_up


@pytest.mark.parametrize("name", ["ink.jpg", "ink.tif"])
def test_an_embedded_profile_is_followed(tmp_path, name):
    """sRGB's green, whatever the inks say."""
    profile = ink_profile(round(87.7 * 2.55), -86, 83)
    Image.new("CMYK", SIZE, (0, 255, 255, 0)).save(tmp_path / name, icc_profile=profile)
    read = read_noted(tmp_path / name)
    red, green, blue = color(read.image)
    assert (green > 245, max(red, blue) < 60, read.notes) == (True, True, ())


def test_a_profile_of_other_colours_is_not_followed(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("CMYK", SIZE, (0, 255, 255, 0)).save(tmp_path / "ink.tif", icc_profile=profile)
    read = read_noted(tmp_path / "ink.tif")
    assert read.notes[0] == "its colour profile cannot be used"
    assert color(read.image) == (255, 0, 0)


@pytest.mark.parametrize(
    ("mode", "value", "expected", "note"),
    [
        ("F", 0.5, 128, "0.5 to 0.5, are read as 0 for black to 1 for white"),
        ("F", 128.0, 128, "128 to 128, are read as 0 for black to 255 for white"),
        ("F", -3.0, 0, "-3 to -3, are read as -3 for black to -3 for white"),
        ("I", 32896, 128, "32896 to 32896, are read as 0 for black to 65535 for white"),
        ("I", 200, 200, "200 to 200, are read as 0 for black to 255 for white"),
    ],
)
def test_numbers_of_any_size_are_read_and_said(tmp_path, mode, value, expected, note):
    Image.new(mode, SIZE, value).save(tmp_path / "numbers.tif")
    read = read_noted(tmp_path / "numbers.tif")
    assert color(read.image) == (expected,) * 3
    assert note in read.notes[0]


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    Image.new("F", SIZE, float("nan")).save(tmp_path / "nan.tif")
    with pytest.raises(PictureError, match="no finite numbers"):
        read_picture(tmp_path / "nan.tif")


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_camera_s_rotation_is_followed(tmp_path, turn):
    """Against Pillow's own, for every note a camera can make, in every format that has one."""
    from PIL import ImageOps

    image = Image.new("RGB", SIZE, "red")
    image.paste("blue", (0, 0, 40, 10))
    image.paste("lime", (0, 0, 8, 36))
    exif = Image.Exif()
    exif[0x0112] = turn
    for name in ("a.png", "a.jpg", "a.webp", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {"quality": 95} if name == "a.jpg" else {}
        image.save(tmp_path / name, exif=exif, **options)
        with Image.open(tmp_path / name) as opened:
            expected = ImageOps.exif_transpose(opened).convert("RGB")
        assert read_picture(tmp_path / name).tobytes() == expected.tobytes()
    grey = Image.new("I;16", (2, 40), 65535)
    grey.paste(0, (0, 0, 2, 20))
    grey.save(tmp_path / "deep.png", exif=exif)
    assert read_picture(tmp_path / "deep.png").size == ((40, 2) if turn > 4 else (2, 40))


def test_broken_exif_data_lose_the_rotation_alone(tmp_path):
    Image.new("RGB", SIZE, "red").save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    read = read_noted(tmp_path / "a.png")
    assert color(read.image) == (255, 0, 0)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_the_first_frame_counts_and_it_is_said(tmp_path, ending):
    file = tmp_path / f"moving.{ending}"
    options = {"lossless": True} if ending == "webp" else {}
    frames = [Image.new("RGB", SIZE, name) for name in ("red", "blue", "lime")]
    frames[0].save(file, save_all=True, append_images=frames[1:], **options)
    read = read_noted(file)
    assert color(read.image) == (255, 0, 0)
    assert read.notes == ("it has 3 frames or pages; the first one is read",)


def test_a_tiny_picture_is_said(tmp_path):
    Image.new("RGB", (1, 7), "red").save(tmp_path / "dot.png")
    assert read_noted(tmp_path / "dot.png").notes == ("it is tiny: 1 × 7 pixels",)


@pytest.mark.parametrize("ending", [end for end in ALL_ENDINGS if end != ".jpeg"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_file_that_is_cut_is_refused_and_nothing_else_happens(tmp_path, ending, share):
    file, buffer = tmp_path / f"cut{ending}", BytesIO()
    if Image.registered_extensions().get(ending) not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    Image.effect_noise((96, 80), 60).convert("RGB").save(buffer, Image.registered_extensions()[ending])
    whole = buffer.getvalue()
    file.write_bytes(whole)
    assert read_picture(file).size == (96, 80)
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(PictureError, match=r"^cannot be read as a picture: .*(cut off|damaged)"):
        read_picture(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "companion file that macOS writes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\0\0\0\x18ftypheic", "save it as PNG or JPEG"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"no picture", "none of the formats that are read"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PictureError, match=reason):
        read_picture(tmp_path / "a.png")


def test_a_folder_and_a_missing_file_are_no_pictures(tmp_path):
    for name in (tmp_path, tmp_path / "absent.png"):
        with pytest.raises(PictureError, match=r"directory|No such file"):
            read_picture(name)


def test_a_folder_s_pictures_companions_and_other_files(tmp_path):
    for name in (
        "b.PNG",
        "a.jpg",
        "a.tiff",
        "a.txt",
        "a.json",
        "._a.jpg",
        ".hidden.png",
        "notes.docx",
        ".DS_Store",
    ):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    found = list_pictures(tmp_path)
    assert [file.name for file in found.pictures] == ["a.jpg", "b.PNG"]
    assert [file.name for file in found.others] == ["a.tiff", "notes.docx"]
    found = list_pictures(tmp_path, ALL_ENDINGS)
    assert [file.name for file in found.pictures] == ["a.jpg", "a.tiff", "b.PNG"]


def test_a_large_jpeg_comes_small_where_that_is_enough(tmp_path):
    """Its decoder makes an eighth, a quarter or a half; no side has fewer pixels than asked for."""
    columns, rows = np.meshgrid(np.linspace(0, 255, 1200), np.linspace(0, 255, 800))
    picture = Image.fromarray(np.stack((columns, rows, 255 - rows), -1).astype(np.uint8))
    picture.save(tmp_path / "large.jpg", quality=95)
    picture.save(tmp_path / "large.png")
    whole = read_picture(tmp_path / "large.jpg").resize((60, 40), Image.Resampling.BOX)
    for least, size in ((100, (150, 100)), (101, (300, 200)), (400, (600, 400)), (401, (1200, 800))):
        small = read_picture(tmp_path / "large.jpg", least)
        assert small.size == size
        alike = small.resize((60, 40), Image.Resampling.BOX)
        assert np.abs(np.asarray(alike, float) - np.asarray(whole, float)).max() <= 4
    assert read_picture(tmp_path / "large.png", 100).size == (1200, 800)
