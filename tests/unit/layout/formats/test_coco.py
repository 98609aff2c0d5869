"""COCO's annotations: what each example means, round trips, what is refused and where."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from foreign_layouts import CANVAS, CAT, VASE, check_reading, contents
from hypothesis import given
from layouts import rasters

from instance_composer.layout import Box, Canvas, FormatError, Layout, LayoutError, Polygon, RunLength
from instance_composer.layout.formats import coco
from instance_composer.layout.formats.coco_set import read_set
from instance_composer.layout.formats.notes import Warned, taken
from instance_composer.layout.formats.segmentation import decode_counts

COCO = {
    "images": [{"id": 7, "width": 200, "height": 100, "file_name": "cat.jpg"}],
    "categories": [{"id": 3, "name": "cat"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 3,
            "bbox": [20, 20, 80, 40],
            "segmentation": [[20, 20, 100, 20, 20, 60]],
        }
    ],
}


@pytest.mark.parametrize(
    ("source", "canvas", "prompt", "expected"),
    [
        (COCO, None, "", [("cat", (0.1, 0.2, 0.5, 0.6))]),
    ],
)
def test_an_example_is_detected_and_read(
    source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    check_reading("coco", source, canvas, prompt, expected)


def test_polygons_and_run_lengths_come_back() -> None:
    raster = RunLength.from_raster(b"\0\1\1\0" * 5000, 200, 100)
    triangle = Polygon(((0.1, 0.2), (0.5, 0.2), (0.1, 0.6)))
    layout = Layout((replace(CAT, mask=triangle), replace(VASE, mask=raster)), CANVAS)
    read = coco.read(coco.write(layout))
    assert read.instances[1].mask == raster
    assert all(
        math.isclose(a, b)
        for one, other in zip(read.instances[0].mask.points, triangle.points, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_a_mask_has_the_size_of_its_image_and_is_no_crowd(tmp_path: Path) -> None:
    canvas = Canvas(96, 64)
    coarse = RunLength.from_raster(b"\0\0\1\1" * 4, 4, 4)
    half = Polygon(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    items = (replace(CAT, mask=coarse, box=Box(0.0, 0.0, 1.0, 1.0)), replace(VASE, mask=half))
    written = coco.write(Layout(items, canvas))
    cat, vase = written["annotations"]
    assert [one["iscrowd"] for one in (cat, vase)] == [0, 0]
    assert [one["area"] for one in (cat, vase)] == [96 * 64 / 2, 96 * 64 / 2], "of the mask, not of the box"
    assert cat["segmentation"]["size"] == [64, 96]
    fine = coco.read(written).instances[0].mask
    assert fine is not None
    assert fine.raster(96, 64) == coarse.raster(96, 64)
    # What leaves crowds out has every thing.
    written["images"][0]["file_name"] = "a.jpg"
    (tmp_path / "set.json").write_text(json.dumps(written))
    (image,) = read_set(tmp_path / "set.json")
    assert image.layout is not None
    assert {one.caption for one in image.layout.instances} == {CAT.caption, VASE.caption}


def test_a_mask_between_the_pixels_of_its_image_is_written_as_its_box() -> None:
    speck = RunLength.from_raster(bytes([1]) + bytes(1023), 32, 32)
    read = coco.read(coco.write(Layout((replace(CAT, mask=speck, box=speck.bounds),), Canvas(16, 16))))
    assert read.instances[0].bounds == speck.bounds


def test_compressed_counts_are_read() -> None:
    # Made by hand from the rule: one digit up to 15, two digits from 16 on, differences from the fourth.
    assert decode_counts("021") == [0, 2, 1]
    assert decode_counts("P1") == [32]
    assert decode_counts("5432") == [5, 4, 3, 6]
    assert decode_counts("543N") == [5, 4, 3, 2]


@given(rasters())
def test_compression_is_undone(raster: tuple[bytes, int, int]) -> None:
    mask = RunLength.from_raster(*raster)
    data = json.loads(json.dumps(COCO))
    data["annotations"][0]["segmentation"] = {"size": list(mask.size), "counts": compressed(mask.counts)}
    assert coco.read(data).instances[0].mask == mask


@pytest.mark.parametrize(("text", "column"), [("0 1", 2), ("0\x7f", 2), ("0P", 3), ("o" * 20, 14)])
def test_broken_compressed_counts_are_shown(text: str, column: int) -> None:
    with pytest.raises(FormatError) as caught:
        decode_counts(text)
    assert caught.value.column == column


def test_several_outlines_are_their_union() -> None:
    data = json.loads(json.dumps(COCO))
    halves = [[0, 0, 120, 0, 120, 100, 0, 100], [80, 0, 200, 0, 200, 100, 80, 100]]
    data["annotations"][0]["segmentation"] = halves
    assert coco.read(data).instances[0].mask.raster(20, 10) == b"\1" * 200


def test_one_of_several_images_must_be_chosen() -> None:
    data = json.loads(json.dumps(COCO))
    data["images"].append({"id": 8, "width": 400, "height": 100, "file_name": "dog.jpg"})
    data["annotations"].append({"id": 2, "image_id": 8, "category_id": 3, "bbox": [20, 20, 80, 40]})
    with pytest.raises(LayoutError, match="2 images; choose one by id or file name: 7, 8"):
        coco.read(data)
    for image in (8, "8", "dog.jpg"):
        assert contents(coco.read(data, image=image)) == [("cat", (0.05, 0.2, 0.25, 0.6))]
    with pytest.raises(LayoutError, match="0 images have the id or file name"):
        coco.read(data, image="bird.jpg")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"category_id": 9}, "annotation 1: category 9 is not listed; 3 are"),
        ({"bbox": [1, 2, 3]}, "annotation 1: bbox must be a list of 4 numbers"),
        ({"segmentation": [[1, 2, 3]]}, "annotation 1: segmentation: an outline needs pairs"),
        ({"segmentation": [1, 2, 3]}, "list of outlines"),
        ({"segmentation": {"size": [2, 2], "counts": [1]}}, "counts add up to 1, 2 × 2 needs 4"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    data = json.loads(json.dumps(COCO))
    data["annotations"][0].update(change)
    with pytest.raises(LayoutError, match=words):
        coco.read(data)


def compressed(counts: tuple[int, ...]) -> str:
    """COCO's compression, the other way round from the reader."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            text += chr(48 + digit + 32 * more)
    return text


def changed(**changes: Any) -> dict[str, Any]:
    data = json.loads(json.dumps(COCO))
    data["annotations"][0].update(changes)
    return data


def test_ids_are_compared_as_text() -> None:
    assert contents(coco.read(changed(image_id="7", category_id="3"))) == [("cat", tuple(CAT.box))]


@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0]])
def test_the_outline_gives_a_box_that_is_missing(bbox: Any) -> None:
    assert contents(coco.read(changed(bbox=bbox))) == [("cat", tuple(CAT.box))]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"bbox": [0, 0, 0, 0]}, "annotation_flat"),
        ({"bbox": [1, 2, 3]}, "annotation_lost"),
        ({"category_id": 9}, "annotation_lost"),
        ({"segmentation": [[1, 2, 3]]}, "annotation_lost"),
    ],
)
def test_a_broken_annotation_is_left_out_with_a_warning_that_names_it(
    change: dict[str, Any], code: str
) -> None:
    data = changed()
    broken = {"id": 2, "image_id": 7, "category_id": 3, "bbox": [1, 1, 2, 2], "segmentation": [], **change}
    data["annotations"].insert(0, broken)
    with taken() as notes:
        assert [item.id for item in coco.read(data).instances] == ["1"]
    assert [warned.code for warned in notes.warnings] == [code]
    assert notes.warnings[0].path[:2] == ("annotations", 0)


def test_keypoints_are_not_read_and_said() -> None:
    for keypoints, codes in (([5, 5, 2], ["key_not_read"]), ([], []), (None, [])):
        with taken() as notes:
            assert contents(coco.read(changed(keypoints=keypoints))) == [("cat", tuple(CAT.box))]
        assert [warned.code for warned in notes.warnings] == codes


@pytest.mark.parametrize("corners", [[0, 0, 1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0.6, 1]])
def test_a_thousand_outlines_of_the_whole_canvas_are_united_within_a_second(corners: list[float]) -> None:
    outline = [side * value for side, value in zip((4000, 3000) * 4, corners, strict=False)]
    # A little smaller each, so that the next one is never covered by those before it.
    outlines = [[value * (0.5 + part / 2000) for value in outline] for part in range(1000)]
    data = changed(segmentation=outlines)
    data["images"][0].update(width=4000, height=3000)
    start = time.process_time()
    mask = coco.read(data).instances[0].mask
    assert time.process_time() - start < 2.0  # half of it on a machine that does nothing else
    whole = Polygon(tuple((x, y) for x, y in zip(corners[::2], corners[1::2], strict=True)))
    one, other = mask.raster(64, 48), whole.raster(64, 48)
    assert sum(a != b for a, b in zip(one, other, strict=True)) < 200


def test_many_small_outlines_are_united_in_seconds() -> None:
    outlines = [[x, x, x + 3, x, x + 3, x + 3, x, x + 3] for x in range(2000)]
    data = changed(segmentation=outlines, bbox=[0, 0, 2003, 2003])
    data["images"][0].update(width=4000, height=4000)
    start = time.process_time()
    assert coco.read(data).instances[0].mask is not None
    assert time.process_time() - start < 4.0


def many_annotations(outlines: list[list[float]], count: int) -> dict[str, Any]:
    data = changed(segmentation=outlines)
    data["images"][0].update(width=1024, height=1024)
    data["annotations"] *= count
    return data


def test_outlines_take_the_time_of_their_own_box() -> None:
    """Over the whole canvas each of these would take ten milliseconds."""
    small = [[10, 10, 14, 10, 14, 14, 10, 14], [16, 10, 20, 10, 20, 14, 16, 14]]
    start = time.process_time()
    read = coco.read(many_annotations(small, 2_000))
    assert time.process_time() - start < 3.0
    assert len(read.instances) == 2_000


@pytest.mark.parametrize(
    ("outlines", "count"),
    [
        ([[n % 1024, 0, 1024, n // 1024, 1024, 1024] for n in range(3_000)], 1),
        ([[0, 0, 2, 0, 2, 2], [1022, 1022, 1024, 1022, 1024, 1024]], 1_000),
        ([[0, 0, 1024, 0, 1024, 1024], [0, 0, 1024, 1024, 0, 1024]], 1_000),
    ],
    ids=["crossings", "area", "both"],
)
def test_outlines_that_are_much_work_are_answered_in_seconds(outlines: Any, count: int) -> None:
    start = time.process_time()
    coco.read(many_annotations(outlines, count))
    assert time.process_time() - start < 4.0


def test_a_category_without_a_name_is_left_out_with_a_warning_that_names_it() -> None:
    data = changed()
    data["categories"] = [{"id": 2, "name": None}, None, *data["categories"], {"id": 4}]
    with taken() as notes:
        assert contents(coco.read(data)) == [("cat", tuple(CAT.box))]
    assert [str(warned) for warned in notes.warnings] == [
        "left out of the categories: each of categories must be an object { … }, got null",
        "left out of the categories: category 2: name must be a text, got null; "
        "category 4: name must be a text, got null",
    ]
    assert [warned.path for warned in notes.warnings] == [("categories", 1), ("categories", 0, "name")]
    # Its annotations go with it.
    data["annotations"].append({"id": 2, "image_id": 7, "category_id": 2, "bbox": [1, 1, 2, 2]})
    with taken() as notes:
        assert contents(coco.read(data)) == [("cat", tuple(CAT.box))]
    assert "annotation 2: category 2 is not listed; 3 are" in str(notes.warnings[-1])


@pytest.mark.parametrize("key", ["images", "annotations"])
def test_an_entry_that_is_no_object_is_left_out_with_a_warning_that_names_it(key: str) -> None:
    data = changed()
    data[key].insert(0, 5)
    with taken() as notes:
        assert contents(coco.read(data)) == [("cat", tuple(CAT.box))]
    assert [str(warned) for warned in notes.warnings] == [
        f"left out of the {key}: each of {key} must be an object {{ … }}, got 5"
    ]
    assert notes.warnings[0].path == (key, 0)
    data["annotations"][-1]["category_id"] = 9
    with pytest.raises(LayoutError, match="category 9 is not listed"):
        coco.read(data)
    data[key] = [5]
    with pytest.raises(LayoutError, match=f"each of {key} must be an object"):
        coco.read(data)


def test_a_warning_tells_the_first_of_many_entries() -> None:
    data = changed()
    data["categories"] += [{"id": number} for number in range(100, 150)]
    with taken() as notes:
        coco.read(data)
    (warned,) = notes.warnings
    assert str(warned).count("must be a text") == 20
    assert str(warned).endswith("; 30 more")


def test_many_warnings_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with all before it would take minutes for the faults that a file of 10 MB can have."""
    compared = 0

    def counted(one: Warned, other: object) -> bool:
        nonlocal compared
        compared += 1
        return one is other

    monkeypatch.setattr(Warned, "__eq__", counted)
    data = changed()
    data["annotations"] += [{"image_id": 7, "id": number} for number in range(300)]
    with taken() as notes:
        coco.read(data)
        coco.read(data)
    assert len(notes.warnings) == 300
    assert compared <= 300
