"""Pictures that say how they were made: found again, never taken for others."""

from __future__ import annotations

import pytest
from PIL import Image

from instance_composer.rankings.errors import GalleryError
from instance_composer.rankings.gallery import Prompt
from instance_composer.rankings.pictures import (
    clear_unfinished,
    index,
    missing,
    picture_digests,
    picture_file,
    read_record,
    write_lines,
    write_picture,
)

PROMPTS = [Prompt("attribute", 0, "a red book"), Prompt("attribute", 1, "一本红色的书")]


def made(run, prompt: Prompt, **changes) -> None:
    record = {"prompt": prompt.text, "seed": 7 + prompt.number, "model": "m", **changes}
    write_picture(picture_file(run, "sdxl", prompt), Image.new("RGB", (8, 8), "red"), record)


def test_what_is_there_is_not_missing(tmp_path):
    assert missing(tmp_path, "sdxl", PROMPTS, {"model": "m"}) == PROMPTS
    made(tmp_path, PROMPTS[1])
    assert missing(tmp_path, "sdxl", PROMPTS, {"model": "m"}) == PROMPTS[:1]
    assert read_record(picture_file(tmp_path, "sdxl", PROMPTS[1]))["prompt"] == "一本红色的书"


def test_a_picture_made_otherwise_is_told_and_not_taken(tmp_path):
    made(tmp_path, PROMPTS[0])
    with pytest.raises(GalleryError, match="model was 'm' and is now 'n'"):
        missing(tmp_path, "sdxl", PROMPTS, {"model": "n"})
    with pytest.raises(GalleryError, match="prompt was 'a red book' and is now 'a blue book'"):
        missing(tmp_path, "sdxl", [Prompt("attribute", 0, "a blue book")], {"model": "m"})


def test_a_picture_of_another_seed_is_told_where_the_seed_decides(tmp_path):
    made(tmp_path, PROMPTS[1])
    assert missing(tmp_path, "sdxl", PROMPTS[1:], {"model": "m"}, 7) == []
    with pytest.raises(GalleryError, match="seed was 8 and is now 10"):
        missing(tmp_path, "sdxl", PROMPTS[1:], {"model": "m"}, 9)
    # Finished pictures know no seed.
    assert missing(tmp_path, "sdxl", PROMPTS[1:], {"model": "m"}) == []


def test_a_picture_that_is_written_anew_has_another_digest(tmp_path):
    assert picture_digests(tmp_path, ["sdxl"], PROMPTS[0]) == {}
    made(tmp_path, PROMPTS[0])
    before = picture_digests(tmp_path, ["sdxl", "other"], PROMPTS[0])
    made(tmp_path, PROMPTS[0])
    assert picture_digests(tmp_path, ["sdxl"], PROMPTS[0]) == before
    made(tmp_path, PROMPTS[0], seed=8)
    after = picture_digests(tmp_path, ["sdxl"], PROMPTS[0])
    assert after.keys() == before.keys() == {"sdxl"}
    assert after != before


def test_lines_that_cannot_be_written_leave_nothing_behind(tmp_path):
    (tmp_path / "lines.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        write_lines(tmp_path / "lines.jsonl", [{"a": 1}])
    assert [one.name for one in tmp_path.iterdir()] == ["lines.jsonl"]


def test_a_broken_or_foreign_picture_is_told(tmp_path):
    file = picture_file(tmp_path, "sdxl", PROMPTS[0])
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(GalleryError, match=r"cannot be read .* delete it, and it is made again"):
        missing(tmp_path, "sdxl", PROMPTS, {})
    Image.new("RGB", (8, 8)).save(file)
    with pytest.raises(GalleryError, match="does not say how it was made"):
        missing(tmp_path, "sdxl", PROMPTS, {})


def test_the_index_lists_what_is_there_and_half_written_files_go(tmp_path):
    made(tmp_path, PROMPTS[1])
    file = picture_file(tmp_path, "sdxl", PROMPTS[0])
    half = file.with_name(f"{file.name}.4711.part")
    half.write_bytes(b"half")
    assert index(tmp_path, ["sdxl", "other"], PROMPTS) == [
        {
            "member": "sdxl",
            "aspect": "attribute",
            "number": 1,
            "prompt": "一本红色的书",
            "seed": 8,
            "file": "pictures/sdxl/attribute/00001.png",
        }
    ]
    clear_unfinished(tmp_path)
    assert not half.exists()
