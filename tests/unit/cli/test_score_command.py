"""`instance-composer score`."""

import csv
import json
import sys
from io import BytesIO, TextIOWrapper

import pytest
from PIL import Image
from tiny_rewards import write_tiny_rewards

from instance_composer.cli import main

PROMPT = "a red circle on grey"


@pytest.fixture(scope="module")
def rewards(tmp_path_factory):
    return write_tiny_rewards(tmp_path_factory.mktemp("rewards"))


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, color in enumerate(("red", "blue", "white")):
        Image.new("RGB", (60, 50), color).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def score(*words):
    return main(["score", *map(str, words)])


def test_both_tables_hold_the_same_scores_the_best_first(tmp_path, rewards, pictures):
    json_file, csv_file = tmp_path / "scores.json", tmp_path / "scores.csv"
    for out in (json_file, csv_file):
        words = ("--prompt", PROMPT, "--rewards", rewards, "--spatial-weight", 3, "--batch", 2, "--out", out)
        assert score(pictures, *words) == 0
    rows = json.loads(json_file.read_text())
    assert [row["place"] for row in rows] == [1, 2, 3]
    assert sorted((row["score"] for row in rows), reverse=True) == [row["score"] for row in rows]
    for row in rows:
        mean = (row["attribute"] + 3 * row["spatial"] + row["non-spatial"]) / 5
        assert row["score"] == pytest.approx(mean, abs=1e-5)
        assert row["prompt"] == PROMPT
        assert row["spatial"] == pytest.approx((row["spatial raw"] - 0.16717) / 1.03334, abs=1e-4)
    with csv_file.open() as file:
        table = list(csv.DictReader(file))
    assert [{**row, "place": str(row["place"])}.keys() for row in rows] == [row.keys() for row in table]
    assert [float(row["score"]) for row in table] == [row["score"] for row in rows]


def test_each_picture_may_have_its_own_prompt_beside_it(capsys, rewards, pictures):
    words = (pictures / "0.png", "--attribute", rewards / "attribute.safetensors")
    assert score(*words) == 2
    assert "0.png has no prompt: give --prompt, or write it into 0.txt" in capsys.readouterr().err
    (pictures / "0.txt").write_text(" and ".join([PROMPT] * 9))
    assert score(*words) == 0
    found = capsys.readouterr()
    assert found.out.splitlines()[0].split("\t") == ["place", "score", "picture", "attribute"]
    assert "only 33 word pieces are read, without: " in found.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("absent.png", "--prompt", PROMPT), "there is no file or folder absent.png"),
        (("{pictures}", "--prompt", " "), "is empty"),
        (("{pictures}", "--prompt", PROMPT, "--out", "table.txt"), "written as .csv or .json"),
        (("{pictures}", "--prompt", PROMPT, "--out", "{pictures}/none/table.csv"), "there is no folder"),
        (
            ("{pictures}", "--prompt", PROMPT, "--attribute", "a", "--spatial-weight", "2"),
            "--spatial-weight is for",
        ),
        (
            ("{pictures}", "--layout", "a", "--vlm", "b", "--attribute", "a", "--spatial-weight", "2"),
            "leave --prompt and --rewards and --attribute, --attribute-weight and --spatial, --spatial-w",
        ),
        (("{pictures}", "--prompt", PROMPT, "--rewards", "{pictures}"), "has no reward models"),
        (
            ("{pictures}", "--prompt", PROMPT, "--attribute", "{pictures}/0.png"),
            "0.png was refused: it is no torch file",
        ),
    ],
)
def test_what_cannot_be_scored_is_said(capsys, pictures, words, complaint):
    assert score(*(word.format(pictures=pictures) for word in words)) == 2
    assert complaint in capsys.readouterr().err


def test_a_broken_picture_is_named_and_a_turned_one_is_read_upright(tmp_path, capsys, rewards, pictures):
    words = ("--prompt", PROMPT, "--attribute", rewards / "attribute.safetensors")
    broken = tmp_path / "broken.png"
    broken.write_bytes((pictures / "0.png").read_bytes()[:40])
    assert score(broken, *words) == 2
    assert "broken.png cannot be read as a picture" in capsys.readouterr().err
    upright = Image.new("RGB", (60, 50), "red")
    upright.paste("blue", (0, 0, 60, 20))
    upright.save(tmp_path / "upright.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
    assert score(tmp_path / "upright.png", tmp_path / "turned.png", *words) == 0
    (first, other) = (line.split("\t")[1] for line in capsys.readouterr().out.splitlines()[1:])
    assert first == other


def test_a_folder_is_scored_to_its_end_and_what_failed_is_listed_last(capsys, rewards, pictures):
    """What a camera's card and a Mac leave in a folder."""
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    (pictures / "empty.webp").write_bytes(b"")
    (pictures / "._0.png").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    (pictures / ".thumbnail.png").write_bytes(b"hidden")
    (pictures / "sketch.psd").write_bytes(b"8BPS")
    (pictures / "below.png").mkdir()
    Image.new("RGBA", (60, 50), (200, 0, 0, 0)).save(pictures / "3.png")
    words = ("--prompt", PROMPT, "--attribute", rewards / "attribute.safetensors")
    assert score(pictures, *words) == 1
    said = capsys.readouterr()
    scores = {
        line.split("\t")[2].rpartition("/")[2]: line.split("\t")[1] for line in said.out.splitlines()[1:]
    }
    assert sorted(scores) == ["0.png", "1.png", "2.png", "3.png"]
    assert scores["2.png"] == scores["3.png"], "transparent is white, whatever lies below"
    lines = said.err.splitlines()
    assert f"{pictures / '3.png'}: its transparent parts are read as white" in lines
    assert "no pictures, and not scored: notes.txt, sketch.psd" in lines
    assert lines[-3] == "2 of 6 pictures could not be read:"
    assert lines[-2].startswith(f"{pictures / 'broken.jpg'} cannot be read as a picture: ")
    assert lines[-1] == f"{pictures / 'empty.webp'} cannot be read as a picture: it is empty"


def test_a_prompt_s_mark_of_bytes_is_no_word(tmp_path, rewards, pictures):
    words = ("--attribute", rewards / "attribute.safetensors", "--out", tmp_path / "scores.json")
    found = []
    for encoding in ("utf-8", "utf-8-sig"):
        (pictures / "0.txt").write_text(PROMPT, encoding=encoding)
        assert score(pictures / "0.png", *words) == 0
        found.append((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert found[0] == found[1]


def test_a_prompt_that_is_no_utf_8_is_named(capsys, pictures):
    (pictures / "0.txt").write_bytes(b"caf\xe9")
    assert score(pictures / "0.png") == 2
    assert "0.txt is not UTF-8 text: unexpected end of data at byte 3" in capsys.readouterr().err


def test_a_broken_picture_given_twice_is_said(capsys, pictures):
    broken = pictures / "broken.png"
    broken.write_bytes(b"\x89PNG")
    assert score(broken, broken, "--prompt", PROMPT) == 2
    assert "broken.png cannot be read as a picture" in capsys.readouterr().err


def test_names_that_the_output_cannot_hold_are_escaped(monkeypatch, rewards, pictures):
    (pictures / "0.png").rename(pictures / "画.png")
    printed = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(printed, encoding="ascii"))
    words = ("--prompt", PROMPT, "--attribute", rewards / "attribute.safetensors")
    assert score(pictures / "画.png", *words) == 0
    assert b"\\u753b.png" in printed.getvalue()
