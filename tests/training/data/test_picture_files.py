"""Pictures with layouts in folders, in tar shards, and at sizes of their own proportions."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image
from tiny_sdxl import tiny_vae

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.pictures.shards import ShardError, members
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.folder import LayoutFolder, proportions
from instance_composer.training.data.folder_latents import encode_buckets


def layout(prompt: str, size: tuple[int, int] = (64, 64)) -> bytes:
    one = Layout((Instance("1", Box(0.2, 0.2, 0.8, 0.8), "a thing"),), Canvas(*size), prompt)
    return one.to_json().encode()


def picture(color: str, size: tuple[int, int] = (64, 64)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def write_shard(path, files: dict[str, bytes], form: int = tarfile.USTAR_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def fill(folder) -> None:
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "a.png").write_bytes(picture("red"))
    (folder / "below" / "a.json").write_bytes(layout("a"))
    metadata = json.dumps({"url": "http://…", "caption": "no layout"}).encode()
    write_shard(
        folder / "00000.tar",
        {
            "000.png": picture("lime"), "000.txt": b"caption", "000.json": metadata,
            "000.layout.json": layout("own"), "001.png": picture("blue"), "001.json": metadata,
            "002.png": picture("white"), "002.json": layout("plain"), "003.png": picture("black"),
        },
    )  # fmt: skip
    (folder / "00000").mkdir()
    (folder / "00000" / "001.json").write_bytes(layout("beside"))


def test_folders_and_shards_are_read_where_they_lie(tmp_path):
    fill(tmp_path)
    source = LayoutFolder(tmp_path, 64, 64)
    assert source.check(shown=False) == {}
    found = {name: source[number] for number, name in enumerate(source.names)}
    prompts = {name: one.layout.prompt for name, one in found.items()}
    assert prompts == {
        "00000.tar/000.png": "own",
        "00000.tar/001.png": "beside",
        "00000.tar/002.png": "plain",
        "below/a.png": "a",
    }
    assert found["00000.tar/000.png"].image[0, 0].tolist() == [0, 255, 0]
    assert found["00000.tar/001.png"].image[0, 0].tolist() == [0, 0, 255]
    keys = source.keys.tolist()
    (tmp_path / "x.png").write_bytes(picture("lime"))
    (tmp_path / "x.json").write_bytes(layout("x"))
    again = LayoutFolder(tmp_path, 64, 64)
    assert again.check(shown=False) == {}
    # The same picture has the same latent, in a shard and out of it.
    assert again.keys[again.names.index("x.png")].tolist() == keys[0]


def test_what_is_wrong_in_a_shard_is_named(tmp_path):
    write_shard(
        tmp_path / "0.tar", {"a.png": b"none", "a.json": layout("a"), "b.png": picture("red"), "b.json": b"{"}
    )
    wrong = LayoutFolder(tmp_path, 64, 64).check(shown=False)
    assert sorted(wrong) == ["0.tar/a.png", "0.tar/b.png"]
    assert "none of the formats that are read" in wrong["0.tar/a.png"]
    source = LayoutFolder(tmp_path, 64, 64)
    with pytest.raises(SourceError, match="no picture with a layout that can be read"):
        source.leave_out(wrong)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_the_library(tmp_path, form):
    """Long names among them, which have headers of their own, and a name that ASCII has no letters for."""
    names = ["a.png", f"{'long/' * 25}b.png", "ü.png", f"{'x' * 90}.json"]
    write_shard(tmp_path / "0.tar", {name: name.encode() * 200 for name in names}, form)
    data = (tmp_path / "0.tar").read_bytes()
    found = {one.name: data[one.start : one.start + one.length] for one in members(tmp_path / "0.tar")}
    assert found == {name: name.encode() * 200 for name in names}


def test_a_shard_that_is_cut_off_or_compressed_is_refused(tmp_path):
    write_shard(tmp_path / "0.tar", {"a.png": picture("red") * 100, "a.json": layout("a")})
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[:1000])
    with pytest.raises(SourceError, match=r"is cut off within a\.png"):
        LayoutFolder(tmp_path, 64, 64)
    (tmp_path / "0.tar").write_bytes(b"\x1f\x8b" + bytes(range(256)) * 4)
    with pytest.raises(SourceError, match="is no plain tar archive"):
        LayoutFolder(tmp_path, 64, 64)


def test_sizes_keep_the_pixels_and_go_from_high_to_wide():
    sizes = proportions(1024, 1024)
    assert (1024, 1024) in sizes
    assert (896, 1152) in sizes
    for width, height in sizes:
        assert width % 64 == height % 64 == 0
        assert 0.85 * 1024**2 < width * height <= 1024**2
        assert 0.5 <= width / height <= 2


def test_pictures_go_to_the_bucket_of_their_proportion(tmp_path):
    shapes = {"square": (200, 200), "wide": (300, 150), "high": (100, 200), "also": (128, 128)}
    for name, size in shapes.items():
        (tmp_path / f"{name}.png").write_bytes(picture("red", size))
        (tmp_path / f"{name}.json").write_bytes(layout(name, size))
    sets = encode_buckets(LayoutFolder(tmp_path, 128, 128), tiny_vae(), tmp_path / "latents")
    found = {one.size: sorted(one.layout(n).prompt for n in range(len(one))) for one in sets}
    (high, wide) = (
        [size for size in found if size[0] > size[1]],
        [size for size in found if size[0] < size[1]],
    )
    assert found[128, 128] == ["also", "square"]
    assert [found[size] for size in (*high, *wide)] == [["high"], ["wide"]]
    for one in sets:
        assert one.latents([0]).shape[-2:] == (one.size[0] // 8, one.size[1] // 8)
        assert one.layout(0).canvas == Canvas(one.size[1], one.size[0])
    assert np.isfinite([one.conditioning(0) for one in sets]).all()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_are_read_as_the_library_reads_them(tmp_path, form):
    """Long names, names of other letters, folders, a length of many digits."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form) as archive:
        for name in ("./a.png", "é.png", "f" * 60 + "/" + "n" * 80 + ".png", "folder/last.json"):
            info = tarfile.TarInfo(name)
            info.size = 3 * len(name)
            archive.addfile(info, io.BytesIO(b"x" * info.size))
        folder = tarfile.TarInfo("below/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        info = tarfile.TarInfo("after.png")
        info.size = 70_000
        archive.addfile(info, io.BytesIO(b"y" * info.size))
    with tarfile.open(path) as archive:
        expected = [
            (one.name.removeprefix("./"), one.offset_data, one.size) for one in archive if one.isfile()
        ]
    assert [tuple(one) for one in members(path)] == expected


def test_a_damaged_header_is_refused(tmp_path):
    path = tmp_path / "x.tar"
    write_shard(path, {"a.png": b"1", "b.png": b"2"})
    damaged = bytearray(path.read_bytes())
    damaged[1024] ^= 1  # the second name, which its checksum does not fit any more
    path.write_bytes(damaged)
    with pytest.raises(ShardError, match="no plain tar archive, or a damaged one"):
        list(members(path))
