"""All images of a COCO file at once."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from instance_composer.cli import main
from instance_composer.layout import Layout, LayoutError
from instance_composer.layout.formats.coco_set import read_set
from instance_composer.layout.formats.collection import CollectionError


def write(folder, annotations, captions=()):
    images = [
        {"id": n, "file_name": f"COCO_{n:03d}.jpg", "width": 100, "height": 50, "license": 1}
        for n in (1, 2, 3)
    ]
    shared = {"info": {}, "images": images, "licenses": []}
    names = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    objects, told = folder / "instances.json", folder / "captions.json"
    objects.write_text(json.dumps({**shared, "categories": names, "annotations": annotations}))
    told.write_text(json.dumps({**shared, "annotations": list(captions)}))
    return objects, told


def thing(image, category, box, number=1, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, **more}


def test_every_image_has_its_boxes_and_the_first_of_its_captions(tmp_path):
    outline = [[0, 0, 10, 0, 10, 10]]
    objects, told = write(
        tmp_path,
        [
            thing(1, 17, [0, 0, 20, 20], segmentation=outline, iscrowd=0),
            thing(2, 18, [10, 0, 50, 50], 2, iscrowd=0),
            thing(1, 18, [50, 0, 50, 50], 3, iscrowd=0),
            thing(1, 18, [0, 0, 5, 5], 4, iscrowd=0),  # half a percent
            thing(1, 18, [0, 0, 100, 50], 5, iscrowd=1, segmentation={"size": [50, 100], "counts": [5000]}),
        ],
        [
            {"image_id": 1, "id": 1, "caption": "A cat\nand a dog. "},
            {"image_id": 1, "id": 2, "caption": "Others say so."},
        ],
    )
    found = {one.name: one.layout for one in read_set(objects, told)}
    first, second, third = (found[f"COCO_{n:03d}.jpg"] for n in (1, 2, 3))
    assert first.prompt == "A cat and a dog."
    assert [one.caption for one in first.instances] == ["dog", "cat"], "the largest first, no crowd, no speck"
    assert list(first.instances[1].box) == pytest.approx([0, 0, 0.2, 0.4])
    assert first.instances[1].mask is None
    assert (second.prompt, len(second.instances), third.instances) == ("", 1, ())
    assert len(next(read_set(objects, told, most=1)).layout.instances) == 1


def test_what_is_wrong_with_one_image_is_its_own(tmp_path):
    objects, _ = write(tmp_path, [thing(1, 99, [0, 0, 20, 20]), thing(2, 17, [0, 0, 50, 50])])
    first, second, _ = read_set(objects)
    assert first.layout is None
    assert "99" in first.reason
    assert second.layout is not None
    objects.write_text("{")
    with pytest.raises(CollectionError, match=r"instances\.json is no JSON"):
        list(read_set(objects))


def test_one_call_makes_a_data_set(tmp_path, capsys):
    objects, told = write(
        tmp_path,
        [thing(n, 17, [0, 0, 50, 50], n) for n in (1, 2, 3)],
        [{"image_id": 1, "id": 1, "caption": "a cat"}],
    )
    (tmp_path / "images").mkdir()
    for n in (1, 2):
        Image.new("RGB", (100, 50)).save(tmp_path / "images" / f"COCO_{n:03d}.jpg")
    words = ["layout", "coco", str(objects), "--captions", str(told), "--images", str(tmp_path / "images")]
    words += ["--out", str(tmp_path / "data")]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out.startswith("2 written, 0 were there, 0 have no instance of that size, 1 failed")
    assert "COCO_003.jpg: it is not in " in said.err
    assert "1 of those written have no prompt" in said.err
    names = sorted(file.name for file in (tmp_path / "data").iterdir())
    assert names == ["COCO_001.jpg", "COCO_001.json", "COCO_002.jpg", "COCO_002.json"]
    document = tmp_path / "data" / "COCO_001.json"
    assert Layout.from_json(document.read_bytes()).prompt == "a cat"
    document.write_text('{"version": 1, "canvas": {"width": 8, "height": 8}, "prompt": "mine"}')
    assert main(words) == 1
    assert capsys.readouterr().out.startswith("0 written, 2 were there")
    assert "mine" in document.read_text()


def coco_of(folder, names, annotations=()):
    images = [{"id": n, "file_name": name, "width": 100, "height": 50} for n, name in enumerate(names, 1)]
    own = [thing(n, 17, [0, 0, 10 * n, 50], n) for n in range(1, len(names) + 1)]
    data = {"images": images, "categories": [{"id": 17, "name": "cat"}], "annotations": [*own, *annotations]}
    file = folder / "instances.json"
    file.write_text(json.dumps(data), encoding="utf-8-sig")  # as Windows' editors begin a file
    return file


def test_images_of_one_name_in_several_folders_keep_apart(tmp_path, capsys):
    names = ["one/1.png", "two\\1.png", "elsewhere/2.png", "3.png", "3.jpg", "../1.png", ""]
    objects = coco_of(tmp_path, names)
    images = tmp_path / "images"
    colors = {"one/1.png": "red", "two/1.png": "blue", "1.png": "white", "2.png": "green", "3.png": "black"}
    for name, color in {**colors, "3.jpg": "black"}.items():
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 50), color).save(images / name)
    out = tmp_path / "data"
    assert main(["layout", "coco", str(objects), "--images", str(images), "--out", str(out)]) == 1
    for name, number in (("one/1.png", 1), ("two/1.png", 2), ("2.png", 3), ("3.png", 4), ("1.png", 6)):
        assert (out / name).read_bytes() == (images / name).read_bytes()
        (instance,) = Layout.from_json((out / name).with_suffix(".json").read_bytes()).instances
        assert instance.box.x1 == pytest.approx(number / 10), name
    said = capsys.readouterr()
    assert said.out.startswith("5 written, 0 were there, 0 have no instance of that size, 2 failed")
    assert "3.jpg: 3.png would have the same layout file" in said.err
    assert '"" is no name of an image' in said.err


def test_without_images_the_second_of_a_name_is_said(tmp_path, capsys):
    objects = coco_of(tmp_path, ["one/1.png", "two/1.png"])
    assert main(["layout", "coco", str(objects), "--out", str(tmp_path / "data")]) == 1
    assert "two/1.png: one/1.png would have the same layout file" in capsys.readouterr().err
    (instance,) = Layout.from_json((tmp_path / "data" / "1.json").read_bytes()).instances
    assert instance.box.x1 == pytest.approx(0.1)


def test_annotations_that_are_left_out_are_said(tmp_path, capsys):
    objects = coco_of(tmp_path, ["1.png"], [thing(1, 99, [0, 0, 50, 50], 8), thing(1, 17, [0, 0, 0, 50], 9)])
    assert main(["layout", "coco", str(objects), "--out", str(tmp_path / "data")]) == 0
    said = capsys.readouterr().err
    assert "1.png: warning: an annotation is left out: annotation 8: category 99 is not listed" in said
    assert "1.png: warning: annotation number 3" in said


@pytest.mark.parametrize(
    "words", [("--instances", "0"), ("--instances", "-1"), ("--smallest", "nan"), ("--smallest", "2")]
)
def test_limits_that_leave_nothing_are_refused(tmp_path, words, capsys):
    with pytest.raises(SystemExit):
        main(["layout", "coco", str(coco_of(tmp_path, ["1.png"])), "--out", str(tmp_path), *words])
    assert "is needed, got" in capsys.readouterr().err


def test_an_image_without_a_name_is_named_by_its_id(tmp_path):
    objects, _ = write(tmp_path, [thing(n, 17, [0, 0, 50, 50], n) for n in (1, 2, 3)])
    data = json.loads(objects.read_text())
    del data["images"][0]["file_name"]
    data["images"][2]["file_name"] = 3
    objects.write_text(json.dumps(data))
    first, second, third = read_set(objects)
    assert first == ("image 1", None, "image 1: file_name must be a text, got null", ())
    assert (second.name, len(second.layout.instances)) == ("COCO_002.jpg", 1)
    assert (third.name, third.layout, third.reason) == (
        *("image 3", None),
        "image 3: file_name must be a text, got 3",
    )


def test_a_file_of_something_else_is_told_so(tmp_path):
    file = tmp_path / "list.json"
    file.write_text("[1]")
    with pytest.raises(LayoutError, match=r"the COCO file .*list\.json must be an object \{ … \}, got \[1\]"):
        list(read_set(file))
    file.write_text('{"images": [], "annotations": [], "categories": 5}')
    with pytest.raises(LayoutError, match=r'"categories" of list\.json must be a list'):
        list(read_set(file))
    for text in ("{", "[" * 100_000):
        file.write_text(text)
        with pytest.raises(CollectionError, match=r"list\.json is no JSON"):
            list(read_set(file))


def test_a_category_without_a_name_is_told_with_the_images_that_miss_it(tmp_path):
    objects, _ = write(
        tmp_path,
        [thing(1, 17, [0, 0, 50, 50]), thing(2, 18, [0, 0, 50, 50], 2), thing(2, 17, [0, 0, 50, 50], 3)],
    )
    data = json.loads(objects.read_text())
    data["categories"][1]["name"] = None
    data["categories"].append(None)
    objects.write_text(json.dumps(data))
    first, second, third = read_set(objects)
    assert [one.caption for one in first.layout.instances] == ["cat"]
    assert (first.warnings, third.warnings) == ((), ())
    assert [one.caption for one in second.layout.instances] == ["cat"]
    assert second.warnings == (
        "left out of the categories: category 18: name must be a text, got null",
        "an annotation is left out: annotation 2: category 18 is not listed; 17 are",
    )


def test_boxes_of_a_picture_that_was_turned_since_are_told(tmp_path, capsys):
    objects, _ = write(tmp_path, [thing(n, 17, [0, 0, 50, 25], n) for n in (1, 2, 3)])
    images, out, exif = tmp_path / "images", tmp_path / "out", Image.Exif()
    images.mkdir()
    Image.new("RGB", (100, 50)).save(images / "COCO_001.jpg")
    Image.new("RGB", (50, 25)).save(images / "COCO_002.jpg")  # made smaller
    exif[0x0112] = 6
    Image.new("RGB", (100, 50)).save(images / "COCO_003.jpg", exif=exif)
    assert main(["layout", "coco", str(objects), "--images", str(images), "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert "2 written" in told.out
    assert "COCO_003.jpg: upright it is 50 × 100, the file says 100 × 50" in told.err
    assert sorted(one.name for one in out.glob("*.json")) == ["COCO_001.json", "COCO_002.json"]
