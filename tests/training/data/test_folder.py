"""A folder of pictures with layouts beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_sdxl import tiny_vae

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.folder import LayoutFolder
from instance_composer.training.data.folder_latents import encode_folder
from instance_composer.training.data.latents import BATCH, latents_of


def test_a_folder_of_pictures_with_layouts(tmp_path):
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    layout = Layout((Instance("1", Box(0.5, 0.0, 1.0, 1.0), "white"),), Canvas(200, 100), "half")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(layout.to_json())
    Image.fromarray(pixels).save(tmp_path / "without-layout.png")
    folder = LayoutFolder(tmp_path, 64, 64)
    assert len(folder) == 1
    example = folder[0]
    assert example.image.shape == (64, 64, 3)
    assert list(example.layout.instances[0].box) == pytest.approx([0.5, 0, 1, 1])
    assert example.image[:, 40:].min() > 200 > 50 > example.image[:, :24].max()
    with pytest.raises(SourceError, match="no pictures with layouts"):
        LayoutFolder(tmp_path / "nowhere", 64, 64)
    with pytest.raises(SourceError, match="multiples of 8"):
        LayoutFolder(tmp_path, 65, 64)
    assert folder.check(shown=False) == {}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(SourceError, match=r"a\.png"):
        folder[0]


def test_pictures_come_in_the_order_of_their_names(tmp_path):
    names = ["b.PNG", "a.jpg", "a.b.webp", "ü.png", "10.png", "9.jpeg"]
    for name in (*names, "alone.png", "c.gif", "d.png", ".png", "._a.jpg", ".b.png"):
        (tmp_path / name).touch()
    for stem in ("b", "a", "a.b", "ü", "10", "9", "c", "without", "._a", ".b"):
        (tmp_path / f"{stem}.json").touch()
    (tmp_path / "d.json").mkdir()
    assert list(LayoutFolder(tmp_path, 64, 64).names) == sorted(names)


def write_pair(folder, name, color, size=(80, 64), caption="a thing", suffix=".png"):
    Image.new("RGB", size, color).save(folder / f"{name}{suffix}")
    layout = Layout((Instance("1", Box(0.2, 0.2, 0.8, 0.8), caption),), Canvas(*size), caption)
    (folder / f"{name}.json").write_text(layout.to_json())


def test_everything_that_is_wrong_is_listed_at_once_before_anything_is_encoded(tmp_path):
    for name in "abc":
        write_pair(tmp_path, name, "red")
    (tmp_path / "a.json").write_text('{"version": 1')
    (tmp_path / "b.png").write_bytes(b"no picture")
    wrong = LayoutFolder(tmp_path, 64, 64).check(shown=False)
    assert set(wrong) == {"a.png", "b.png"}
    with pytest.raises(SourceError, match=r"2 of 3 pictures(.|\n)*a\.png(.|\n)*b\.png(.|\n)*--leave-out"):
        encode_folder(LayoutFolder(tmp_path, 64, 64), tiny_vae(), tmp_path / "latents")
    assert [one.name for one in (tmp_path / "latents").iterdir()] == ["looked-at"]


def test_what_cannot_be_decoded_is_left_out_by_choice_and_remembered(tmp_path, caplog):
    torch.manual_seed(0)
    autoencoder = tiny_vae()
    for name in "ab":
        write_pair(tmp_path, name, "red" if name == "a" else "blue", size=(256, 256), suffix=".jpg")
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"b\.jpg"):
        encode_folder(LayoutFolder(tmp_path, 64, 64), autoencoder, tmp_path / "latents")
    left = encode_folder(LayoutFolder(tmp_path, 64, 64), autoencoder, tmp_path / "latents", leave_out=True)
    assert len(left) == 1
    assert "left out" in caplog.text
    (tmp_path / "b.jpg").write_bytes(whole)
    assert len(encode_folder(LayoutFolder(tmp_path, 64, 64), autoencoder, tmp_path / "latents")) == 2


def test_only_what_changed_is_encoded_again_and_layouts_are_always_read(tmp_path):
    torch.manual_seed(0)
    autoencoder, latents = tiny_vae(), tmp_path / "latents"
    for name, color in zip("abc", ("red", "green", "blue"), strict=True):
        write_pair(tmp_path, name, color)
    first = encode_folder(LayoutFolder(tmp_path, 64, 64), autoencoder, latents)
    before = first.latents(range(3))
    times = {file: file.stat().st_mtime_ns for file in latents.rglob("*.safetensors")}
    # A caption is edited, a picture replaced, another added in front of all.
    write_pair(tmp_path, "a", "red", caption="another thing")
    write_pair(tmp_path, "b", "white")
    write_pair(tmp_path, "0", "black")
    second = encode_folder(LayoutFolder(tmp_path, 64, 64), autoencoder, latents)
    assert len(second) == 4
    assert torch.equal(second.latents([1, 3]), before[[0, 2]])
    assert not torch.equal(second.latents([2])[0], before[1])
    assert second.layout(1).prompt == "another thing"
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())
    # Another autoencoder, or another size, has latents of its own in the same folder.
    other = encode_folder(LayoutFolder(tmp_path, 64, 64), tiny_vae(), latents)
    assert not torch.equal(other.latents([1])[0], before[0])
    assert encode_folder(LayoutFolder(tmp_path, 128, 64), autoencoder, latents).size == (64, 128)
    parted = second.select([3, 1])
    assert torch.equal(parted.latents([0, 1]), before[[2, 0]])
    assert parted.layout(1).prompt == "another thing"
    assert first.fingerprint != second.fingerprint


def test_size_and_crop_are_told_as_sdxl_was_trained(tmp_path):
    write_pair(tmp_path, "wide", "red", size=(400, 200))
    write_pair(tmp_path, "tall", "red", size=(100, 400))
    folder = LayoutFolder(tmp_path, 64, 64)
    told = {name: folder.conditioning(number) for number, name in enumerate(folder.names)}
    assert told["wide.png"] == (200, 400, 0, 32, 64, 64)
    assert told["tall.png"] == (400, 100, 96, 0, 64, 64)


def test_a_picture_on_its_side_counts_the_way_up(tmp_path):
    write_pair(tmp_path, "a", "red", size=(200, 100), suffix=".jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100), "red").save(tmp_path / "a.jpg", exif=exif)
    assert LayoutFolder(tmp_path, 64, 64).conditioning(0)[:2] == (200, 100)


def test_a_large_jpeg_is_the_same_example_as_the_picture_it_was_made_of(tmp_path):
    """Decoded at a part of its size: its layout, size and crop are those of the whole picture."""
    columns, rows = np.meshgrid(np.linspace(0, 255, 1300), np.linspace(0, 255, 700))
    picture = Image.fromarray(np.stack((columns, rows, 255 - rows), -1).astype(np.uint8))
    layout = Layout((Instance("1", Box(0.5, 0.1, 0.9, 1.0), "blue"),), Canvas(1300, 700), "colours")
    for folder, suffix in (("whole", "png"), ("small", "jpg")):
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / f"a.{suffix}", quality=95)
        (tmp_path / folder / "a.json").write_text(layout.to_json())
    whole, small = (LayoutFolder(tmp_path / folder, 64, 64) for folder in ("whole", "small"))
    assert small.conditioning(0) == whole.conditioning(0)
    assert small[0].layout == whole[0].layout
    assert np.abs(small[0].image.astype(float) - whole[0].image).max() <= 6


def test_latents_are_those_of_their_own_pictures_however_they_were_decoded(tmp_path):
    """More pictures than are decoded ahead of the encoder, some of which take longer than others."""
    count = 2 * BATCH + 5
    for number in range(count):
        size = (900, 700) if number % 7 == 0 else (70, 66)
        write_pair(
            tmp_path, f"{number:02}", (number * 67 % 256, number * 131 % 256, number * 29 % 256), size=size
        )
    source, vae = LayoutFolder(tmp_path, 64, 64), tiny_vae()
    encoded = encode_folder(source, vae, tmp_path / "latents")
    alone = torch.cat([latents_of(vae, source[number].image[None]) for number in range(count)])
    found = encoded.latents(range(count))
    assert torch.allclose(found.float(), alone.float(), atol=1e-3)
    # Those of another picture would be told apart.
    assert (found[1:] - found[:-1]).abs().amax((1, 2, 3)).min() > 5e-3


def test_a_layout_of_the_unturned_picture_is_told(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 64), "red").save(tmp_path / "a.jpg", exif=exif)
    write_pair(tmp_path, "b", "red")
    layout = Layout((Instance("1", Box(0.0, 0.0, 0.5, 0.5), "a thing"),), Canvas(80, 64), "a thing")
    (tmp_path / "a.json").write_text(layout.to_json())
    wrong = LayoutFolder(tmp_path, 64, 64).check(shown=False)
    assert list(wrong) == ["a.jpg"]
    assert "the picture is 64 × 80, the canvas of its layout 80 × 64" in wrong["a.jpg"]
