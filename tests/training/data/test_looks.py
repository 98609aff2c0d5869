"""What is kept of looking at pictures and layouts."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.models.weights import read_metadata
from instance_composer.training.data.folder import LayoutFolder, proportions
from instance_composer.training.data.looking.picture import Look
from instance_composer.training.data.looks import Looks, look_at_all

SIZE = (96, 64)


def write_pair(folder, name, things=1, color="red"):
    Image.new("RGB", SIZE, color).save(folder / f"{name}.png")
    boxes = [Box(0.3, 0.2, 0.7, 0.8)] * things
    layout = Layout(tuple(Instance(str(n), box, "x") for n, box in enumerate(boxes)), Canvas(*SIZE), name)
    (folder / f"{name}.json").write_text(layout.to_json())


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number, name in enumerate("abc"):
        write_pair(folder, name, number, ("red", "green", "blue")[number])
    return folder


def looked_at(data, kept, monkeypatch) -> tuple[LayoutFolder, list[str]]:
    """A folder that has been checked, and the pictures that were opened for it."""
    source = LayoutFolder(data, 64, 64)
    opened = []
    own = source._files.entry

    def noting(number):
        opened.append(source.names[number])
        return own(number)

    monkeypatch.setattr(source._files, "entry", noting)
    assert source.check(place=kept, shown=False) == {}
    return source, opened


def test_only_what_has_changed_is_looked_at_again(data, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    first, opened = looked_at(data, kept, monkeypatch)
    assert opened == ["a.png", "b.png", "c.png"]
    assert first.things.tolist() == [0, 1, 2]
    second, opened = looked_at(data, kept, monkeypatch)
    assert opened == []
    assert (second.things == first.things).all()
    assert (second.keys == first.keys).all()
    assert second.conditioning(1) == first.conditioning(1) == (64, 96, 0, 16, 64, 64)
    # A layout edited, a picture replaced by one of the same length and time, a picture added.
    write_pair(data, "a", 3)
    time = (data / "b.png").stat()
    changed = bytearray((data / "b.png").read_bytes())
    (data / "b.png").write_bytes(changed)
    os.utime(data / "b.png", ns=(time.st_atime_ns, time.st_mtime_ns))
    write_pair(data, "d", 4)
    third, opened = looked_at(data, kept, monkeypatch)
    assert opened == ["a.png", "b.png", "d.png"]
    assert third.things.tolist() == [3, 1, 2, 4]


def test_a_dry_run_reads_what_is_kept_and_writes_nothing(data, tmp_path):
    source = LayoutFolder(data, 64, 64)
    assert source.check(place=tmp_path / "kept", write=False, shown=False) == {}
    assert not (tmp_path / "kept").exists()
    assert source.things.tolist() == [0, 1, 2]


def test_what_was_wrong_is_looked_at_again(data, tmp_path):
    (data / "b.json").write_text("{")
    kept = tmp_path / "kept"
    assert list(LayoutFolder(data, 64, 64).check(place=kept, shown=False)) == ["b.png"]
    again = LayoutFolder(data, 64, 64)
    assert list(again.check(place=kept, shown=False)) == ["b.png"]
    again.leave_out(["b.png"])
    assert again.things.tolist() == [0, 2]
    assert len(again.stamps) == 2


def test_things_are_those_of_the_part_that_is_trained(data, tmp_path):
    """A thing at the edge is outside a square, and inside where the picture keeps its proportion."""
    layout = Layout((Instance("1", Box(0.0, 0.0, 0.1, 1.0), "edge"),), Canvas(*SIZE), "x")
    (data / "c.json").write_text(layout.to_json())
    square, own = LayoutFolder(data, 64, 64), LayoutFolder(data, 128, 128)
    square.check(place=tmp_path / "kept", shown=False)
    sizes = proportions(128, 128)
    own.check(sizes, tmp_path / "kept", shown=False)
    assert square.things.tolist() == [0, 1, 0]
    (part,) = own.by_proportion(sizes)
    assert part.width > part.height
    assert part.things.tolist() == [0, 1, 1]


def test_a_file_that_was_begun_is_no_look(data, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    looked_at(data, kept, monkeypatch)
    (file,) = kept.iterdir()
    file.rename(file.with_suffix(".1.part"))
    _, opened = looked_at(data, kept, monkeypatch)
    assert len(opened) == 3


def test_reasons_are_kept_with_their_stamp(tmp_path):
    def look(numbers):
        for number in numbers:
            yield "the disk is gone" if number else Look((3, 4), bytes(range(16)), 5)

    stamps = np.arange(32, dtype=np.uint8).reshape(2, 16)
    looks = Looks.blank(2)
    assert look_at_all(looks, look, stamps, tmp_path, shown=False) == {1: "the disk is gone"}
    assert looks.sizes.tolist() == [[3, 4], [0, 0]]
    (file,) = tmp_path.iterdir()
    assert read_metadata(file, "wrong") == {stamps[1].tobytes().hex(): "the disk is gone"}
