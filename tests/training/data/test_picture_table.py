"""Pictures of a Parquet table."""

from __future__ import annotations

import sys

import pytest
from PIL import Image
from tiny_sdxl import tiny_vae

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.folder import LayoutFolder
from instance_composer.training.data.folder_latents import encode_folder
from instance_composer.training.data.picture_table import PictureTable


def layout(caption: str) -> str:
    return Layout((Instance("1", Box(0.2, 0.2, 0.8, 0.8), caption),), Canvas(64, 64), caption).to_json()


@pytest.fixture
def write(tmp_path):
    """Writes a table of columns, in groups of two rows, beside three pictures."""
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet tables are read by pyarrow, an extra")
    from pyarrow import parquet

    (tmp_path / "below").mkdir()
    for name, color in (("b.png", "red"), ("a.jpg", "blue"), ("below/c.webp", "green")):
        Image.new("RGB", (64, 64), color).save(tmp_path / name)

    def written(name: str = "pictures.parquet", **columns):
        columns = columns or {
            "url": ["x", "y", "z"],
            "image": ["b.png", "a.jpg", "below/c.webp"],
            "layout": [layout("red"), layout("blue"), layout("green")],
        }
        parquet.write_table(pyarrow.table(columns), tmp_path / name, row_group_size=2)
        return tmp_path / name

    return written


@pytest.mark.parametrize("mapped", [False, True])
def test_rows_are_pictures_with_layouts_in_the_order_of_their_names(write, tmp_path, mapped):
    kept = tmp_path / "kept" if mapped else None
    source = LayoutFolder(write(), 64, 64, kept)
    assert list(source.names) == ["a.jpg", "b.png", "below/c.webp"]
    assert source.check(place=kept, shown=False) == {}
    assert [source.document(number)["prompt"] for number in range(3)] == ["blue", "red", "green"]
    assert source[1].image[0, 0].tolist() == [255, 0, 0]
    assert source.things.tolist() == [1, 1, 1]
    source.leave_out(["b.png"])
    assert [source.document(number)["prompt"] for number in range(2)] == ["blue", "green"]


def test_a_table_that_was_written_anew_is_read_anew_and_only_its_changes_are_encoded(write, tmp_path):
    autoencoder = tiny_vae()

    def encoded():
        return encode_folder(LayoutFolder(path, 64, 64, tmp_path / "kept"), autoencoder, tmp_path / "latents")

    path = write()
    assert [encoded().layout(number).prompt for number in range(3)] == ["blue", "red", "green"]
    files = {*(tmp_path / "latents").rglob("*.safetensors")}
    write(image=["b.png", "a.jpg"], layout=[layout("scarlet"), layout("blue")])
    assert [encoded().layout(number).prompt for number in range(2)] == ["blue", "scarlet"]
    new = {*(tmp_path / "latents").rglob("*.safetensors")} - files
    assert [file.parent.name for file in new] == ["looked-at"]


def test_what_is_wrong_with_rows_is_listed(write):
    path = write(image=["b.png", "gone.png", "a.jpg"], layout=[None, layout("x"), "{"])
    wrong = LayoutFolder(path, 64, 64).check(shown=False)
    assert sorted(wrong) == ["a.jpg", "b.png", "gone.png"]


def test_other_tables_are_refused_in_words(write, tmp_path):
    with pytest.raises(SourceError, match=r"no column layout; .*this one has image, caption"):
        LayoutFolder(write(image=["b.png"], caption=["x"]), 64, 64)
    (tmp_path / "none.parquet").write_bytes(b"no table")
    with pytest.raises(SourceError, match="cannot be read as a Parquet table"):
        LayoutFolder(tmp_path / "none.parquet", 64, 64, tmp_path / "kept")
    assert not [*(tmp_path / "kept").glob("*.arrow")]


def test_without_pyarrow_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match="pip install pyarrow, or give a folder"):
        PictureTable(tmp_path / "pictures.parquet")
