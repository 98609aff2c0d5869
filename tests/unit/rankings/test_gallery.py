"""The gallery's file: what is read of it, and a sentence for everything that cannot be."""

from __future__ import annotations

import pytest

from instance_composer.rankings.errors import GalleryError
from instance_composer.rankings.gallery import read_gallery
from instance_composer.rankings.pictures import each_once, picture_file

GALLERY = """
base = "sdxl"
size = "64x64"
held-out = 2

[prompts]
attribute = "attribute.txt"
non-spatial = "other.txt"

[members.sdxl]
kind = "diffusers"
model = "models/sdxl"
guidance = 5

[members.hub]
kind = "diffusers"
model = "stabilityai/stable-diffusion-3-medium"
joins = 1

[members.finished]
kind = "folder"
pictures = "mine"
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "attribute.txt").write_text("a red book\n\n  a blue vase \n")
    (tmp_path / "other.txt").write_text("\ufeffthree cats\n", encoding="utf-8")

    def write(text: str = GALLERY, *change: str):
        if change:
            assert change[0] in text
            text = text.replace(*change)
        (tmp_path / "gallery.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_members_and_prompts_are_read(write):
    folder = write()
    gallery = read_gallery(folder)
    assert [one.name for one in gallery.joined(0)] == ["sdxl", "finished"]
    assert [one.name for one in gallery.joined(1)] == ["sdxl", "hub", "finished"]
    assert [(one.aspect, one.number, one.text) for one in gallery.prompts] == [
        ("attribute", 0, "a red book"),
        ("attribute", 1, "a blue vase"),
        ("non-spatial", 0, "three cats"),
    ]
    assert gallery.aspects == ["attribute", "non-spatial"]
    assert [gallery.is_held_out(one) for one in gallery.prompts] == [False, True, False]
    assert gallery.size == (64, 64)


def test_a_byte_order_mark_is_passed_over(write):
    folder = write("\ufeff" + GALLERY)
    assert read_gallery(folder).base == "sdxl"


def test_aspects_that_name_the_same_file_share_its_pictures(write):
    folder = write(GALLERY, '"other.txt"', '"attribute.txt"\nspatial = "other.txt"')
    prompts = read_gallery(folder).prompts
    files = [picture_file(folder, "sdxl", one).relative_to(folder / "pictures" / "sdxl") for one in prompts]
    assert [(one.aspect, file.as_posix()) for one, file in zip(prompts, files, strict=True)] == [
        ("attribute", "attribute/00000.png"),
        ("attribute", "attribute/00001.png"),
        ("non-spatial", "attribute/00000.png"),
        ("non-spatial", "attribute/00001.png"),
        ("spatial", "spatial/00000.png"),
    ]
    assert each_once(prompts) == [prompts[0], prompts[1], prompts[4]]
    assert each_once(prompts[2:]) == [*prompts[2:]]


def test_paths_are_the_files_and_names_on_the_hub_stay(write):
    folder = write()
    (folder / "models").mkdir()
    members = read_gallery(folder / "gallery.toml").members
    assert members["sdxl"].options["model"] == str(folder / "models" / "sdxl")
    assert members["hub"].options["model"] == "stabilityai/stable-diffusion-3-medium"
    (folder / "stabilityai" / "stable-diffusion-3-medium").mkdir(parents=True)
    assert read_gallery(folder).members["hub"].options["model"].startswith(str(folder))


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('base = "sdxl"', 'base = "finished"', '"base" is \'finished\'; name the member of kind "diffusers"'),
        ('base = "sdxl"', 'base = "hub"', "is in the gallery from the beginning"),
        (
            'kind = "folder"',
            'kind = "midjourney"',
            "\"kind\" is 'midjourney'; there are diffusers, ifadapter",
        ),
        ('pictures = "mine"', "", 'member finished: "pictures" is missing'),
        ("guidance = 5", 'guidance = "high"', "\"guidance\" is 'high'; it must be a number"),
        ("guidance = 5", "cfg = 5", '"cfg" is not known; there are model'),
        ("joins = 1", "joins = -1", '"joins of hub" is -1; it must be a whole number from 0'),
        ("[members.finished]", '[members."../x"]', "a name is made of letters"),
        ("[members.finished]", "[members.tuned-1]", 'does not begin with "tuned-"'),
        ("[members.finished]", "[members.SDXL]", "differ in upper and lower case alone"),
        ('"attribute.txt"', '"nowhere.txt"', "cannot be read as a text of prompts"),
        ("attribute = ", "colour = ", "the prompts of 'colour' are 'attribute.txt'; there are attribute"),
        ('"64x64"', '"64"', "\"size\" is '64'; write width x height"),
        ("held-out = 2", "held-out = 1", '"held-out" is 1; it must be a whole number from 2'),
        ("held-out = 2", "heldout = 2", "heldout is not known; there are base, size"),
        ("held-out = 2", "held-out = ", "is no TOML file"),
    ],
)
def test_what_cannot_be_is_told(before, after, sentence, write):
    folder = write(GALLERY, before, after)
    with pytest.raises(GalleryError) as told:
        read_gallery(folder)
    assert sentence in str(told.value)


def test_no_gallery_and_no_prompts_are_told(write, tmp_path):
    with pytest.raises(GalleryError, match="there is no gallery"):
        read_gallery(tmp_path)
    folder = write()
    (folder / "other.txt").write_text("\n \n")
    with pytest.raises(GalleryError, match="has no prompts; write one on each line"):
        read_gallery(folder)
