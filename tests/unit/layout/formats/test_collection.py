"""Many layouts of folders, patterns and JSON Lines."""

from __future__ import annotations

import struct

import pytest

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.layout.formats.collection import CollectionError, listed
from instance_composer.layout.png import SIGNATURE


def document(caption: str) -> str:
    return Layout((Instance("1", Box(0, 0, 0.5, 0.5), caption),), Canvas(64, 64)).to_json()


def picture(text: str | None) -> bytes:
    content = b"layout\0\0\0\0\0" + text.encode() if text else b"other\0\0\0\0\0x"
    return SIGNATURE + struct.pack(">I4s", len(content), b"iTXt") + content + b"\0\0\0\0"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "b.json").write_text(document("b"))
    (tmp_path / "b.png").write_bytes(picture(document("not this one")))
    (tmp_path / "a.png").write_bytes(picture(document("a")))
    (tmp_path / "plain.png").write_bytes(picture(None))
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / ".hidden.json").write_text(document("hidden"))
    lines = [Layout.from_json(document(one)).to_dict() for one in ("é", "two")]
    import json

    text = json.dumps(lines[0], ensure_ascii=False) + "\n\n" + json.dumps(lines[1])
    (tmp_path / "below" / "many.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_folder_gives_documents_lines_and_pictures_that_carry_a_layout(folder):
    found = {one.name: one.read().layout.instances[0].caption for one in listed([folder])}
    assert found == {"a": "a", "b": "b", "below/many-000001": "é", "below/many-000003": "two"}


def test_patterns_and_files(folder):
    assert [one.name for one in listed([f"{folder}/*.json", folder / "a.png"])] == ["b", "a"]
    assert [one.name for one in listed([f"{folder}/**/*.jsonl"])] == ["many-000001", "many-000003"]
    assert str(listed([folder / "below" / "many.jsonl"])[1]).endswith("many.jsonl, line 3")


def made(caption: str) -> bytes:
    """A picture as `render` leaves it: with its settings too."""
    content = b"instance-composer\0\0\0\0\0{}"
    return picture(document(caption)) + struct.pack(">I4s", len(content), b"iTXt") + content + b"\0\0\0\0"


def test_the_folder_of_their_pictures_is_passed_over_below_a_source(folder):
    own = ["a", "b", "below/many-000001", "below/many-000003"]
    out = folder / "pictures"
    assert [one.name for one in listed([folder], out)] == own
    for name in own:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.png").write_bytes(made(name))
    (out / "other.json").write_text(document("other"))
    assert [one.name for one in listed([folder], out)] == own
    assert [one.name for one in listed([f"{folder}/**/*.json"], out)] == ["b"]
    # By themselves they are layouts, as a folder, a pattern or one by one.
    names = [*own, "other"]
    assert [one.name for one in listed([out], folder / "again")] == names
    assert [one.name for one in listed([f"{out}/*.json", out / "a.png"], out)] == ["other", "a"]
    with pytest.raises(CollectionError, match=r"outside of .*pictures, where pictures go"):
        listed([f"{folder}/pict*/*.png"], out)


def test_in_their_own_folder_pictures_named_after_a_layout_are_none(folder):
    own = ["a", "b", "below/many-000001", "below/many-000003"]
    for name in ("a-1", "a-2", "b-1", "below/many-000001", "below/many-000003-2"):
        (folder / f"{name}.png").write_bytes(made(name))
    assert [one.name for one in listed([folder], folder)] == own
    # One by something else, and one that no layout here is called like.
    (folder / "b-2.png").write_bytes(picture(document("b-2")))
    (folder / "c-1.png").write_bytes(made("c-1"))
    names = [one.name for one in listed([folder], folder)]
    assert names == ["a", "b-2", "b", *own[2:], "c-1"]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["{}/none"], "there is no file or folder"),
        (["{}/*.yaml"], "no file fits the pattern"),
        (["{}/empty"], "holds no layouts"),
        (["{}/b.json", "{}/b.png"], "would both be called b"),
    ],
)
def test_what_gives_nothing_or_twice_is_refused(folder, sources, message):
    (folder / "empty").mkdir()
    with pytest.raises(CollectionError, match=message):
        listed([source.format(folder) for source in sources])
