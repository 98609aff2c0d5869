"""Answers of language models: what each example means, round trips, what is refused and where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from foreign_layouts import CANVAS, CAT, PAIR, VASE, check_reading, contents

from instance_composer.layout import Box, Canvas, FormatError, Layout, LayoutError, formats

ANSWER = """Sure! Here is the layout you asked for:
```json
{"scene": "a room", "image_size": [200, 100],
 "objects": [{"label": "a red cat", "bbox": [20, 20, 100, 60]},
             {"label": "a vase", "bbox": [80, 40, 180, 90]}]}
```
Enjoy [it]!"""


@pytest.mark.parametrize(
    ("source", "canvas", "prompt", "expected"),
    [
        (ANSWER, None, "a room", [("a red cat", CAT.box), ("a vase", VASE.box)]),
    ],
)
def test_an_example_is_detected_and_read(
    source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    check_reading("llm", source, canvas, prompt, expected)


@pytest.mark.parametrize(
    "entry",
    [
        {"caption": "a red cat", "box": {"x": 0.1, "y": 0.2, "width": 0.4, "height": 0.4}},
        {"caption": "a red cat", "x": 0.1, "y": 0.2, "w": 0.4, "h": 0.4},
        {
            "description": "a red cat",
            "bounding_box": {"xmin": 0.1, "ymin": 0.2, "xmax": 0.5, "ymax": 0.6},
        },
        {"name": "a red cat", "left": 0.1, "top": 0.2, "right": 0.5, "bottom": 0.6},
        {"label": "a red cat", "box_2d": [200, 100, 600, 500]},
        {"label": "a red cat", "bbox": [0.1, 0.2, 0.5, 0.6], "format": "xyxy"},
        {"label": "a red cat", "bbox": [0.1, 0.2, 0.4, 0.4], "format": "XYWH"},
        {"label": "a red cat", "bbox": [0.2, 0.1, 0.6, 0.5], "format": "yxyx"},
    ],
)
def test_boxes_of_every_kind_are_read(entry: dict[str, Any]) -> None:
    for wrapped in ([entry], {"objects": [entry]}, {"layout": {"boxes": [entry]}}, entry):
        text = json.dumps(wrapped)
        if formats.detect(text) == "bounding-boxes":
            continue
        assert formats.detect(text) == "llm"
        assert contents(formats.read(text)) == contents(Layout((CAT,)))


def test_pairs_of_caption_and_box_are_read() -> None:
    text = '[["a red cat", [20, 20, 80, 40]], ["a blue vase", [80, 40, 100, 50]]]'
    layout = formats.read(text, canvas=CANVAS, order="xywh", units="pixel")
    assert contents(layout) == contents(PAIR)


@pytest.mark.parametrize(
    ("units", "factor"), [("percent", 100), ("grid1000", 1000), ("fraction", 1), ("px", None)]
)
def test_declared_units_count(units: str, factor: int | None) -> None:
    factors = (factor, factor) if factor else (CANVAS.width, CANVAS.height)
    box = [value * side for value, side in zip(CAT.box, factors * 2, strict=True)]
    data = {"units": units, "box_format": "xyxy", "width": 200, "height": 100}
    text = json.dumps({**data, "boxes": [{"caption": CAT.caption, "box": box}]})
    assert contents(formats.read(text)) == contents(Layout((CAT,)))


def test_an_entry_may_have_a_unit_of_its_own() -> None:
    entries = [
        {"label": "a", "box": [10, 20, 50, 60], "units": "percent"},
        {"label": "b", "box": [20, 20, 100, 60], "units": "pixel"},
        {"label": "c", "box": [0.1, 0.2, 0.5, 0.6]},
    ]
    for number, entry in enumerate((*entries, {**entries[0], "units": "grid1000"})):
        mixed = [*entries[number:], *entries[:number], entry]
        reading = formats.read_noted(json.dumps({"box_format": "xyxy", "objects": mixed}), canvas=CANVAS)
        for item in reading.layout.instances[: len(entries)]:
            assert tuple(item.box) == pytest.approx((0.1, 0.2, 0.5, 0.6)), item.caption
    assert reading.units == "fraction and grid1000 and percent and pixel"
    # The whole text's is for those without; the caller's is for all.
    text = json.dumps({"box_format": "xyxy", "units": "grid1000", "objects": [entries[0], entries[1]]})
    boxes = [tuple(item.box) for item in formats.read(text, canvas=CANVAS).instances]
    assert boxes == [pytest.approx((0.1, 0.2, 0.5, 0.6))] * 2
    first, _ = formats.read(text, canvas=CANVAS, units="grid1000").instances
    assert tuple(first.box) == pytest.approx((0.01, 0.02, 0.05, 0.06))
    with pytest.raises(LayoutError, match='"inch" is not known') as caught:
        formats.read(json.dumps([entries[2], {**entries[0], "units": "inch"}]), "llm")
    assert caught.value.path == (1, "units")


def test_the_only_reading_on_the_canvas_is_taken() -> None:
    corners = [{"label": "a", "box": [0.1, 0.2, 0.5, 0.6]}, {"label": "b", "box": [0.7, 0.7, 0.9, 0.9]}]
    assert formats.read(json.dumps(corners)).instances[1].box == Box(0.7, 0.7, 0.9, 0.9)
    sizes = [{"label": "a", "box": [0.1, 0.2, 0.5, 0.6]}, {"label": "b", "box": [0.7, 0.7, 0.2, 0.2]}]
    assert formats.read(json.dumps(sizes)).instances[0].box == Box(0.1, 0.2, 0.6, 0.8)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([{"label": "a", "box": [0.1, 0.1, 0.3, 0.3]}], "fit both corners .* and a corner with a size"),
        ([{"label": "a", "box": [0.5, 0.5, 0.3, 0.9]}], "fit neither xyxy nor xywh"),
        ([{"label": "a", "box": [10, 10, 300, 300]}], "go up to 300 and nothing tells their unit"),
        ([{"label": "a", "box": [0.1, 0.1, 0.3]}], "entry 1: box must be a list of 4 numbers"),
        ([{"label": "a", "box": {"x": 1}}], "entry 1 has no box"),
        (
            {"box_format": "abcd", "boxes": [{"label": "a", "box": [0, 0, 1, 1]}]},
            '"abcd" is not known; xyxy',
        ),
        (
            {"units": "inch", "boxes": [{"label": "a", "box": [0, 0, 1, 1]}]},
            '"inch" is not known; fraction',
        ),
        ({"units": "pixel", "boxes": [{"label": "a", "box": [0, 0, 1, 1]}]}, "give the canvas size"),
    ],
)
def test_ambiguity_is_refused(data: Any, words: str) -> None:
    with pytest.raises(LayoutError, match=words):
        formats.read(json.dumps(data), "llm")


def test_prose_and_fences_do_not_shift_the_position_of_errors() -> None:
    with pytest.raises(FormatError) as caught:
        formats.read('Here:\n```json\n{"objects": [\n  {"label" "a"}]}\n```\n')
    assert (caught.value.line, caught.value.column) == (4, 12)
    with pytest.raises(LayoutError, match="2 blocks of JSON"):
        formats.read("```json\n{}\n```\nor\n```\n{}\n```")


WORDS = ("class", "class_name", "category", "category_name", "title", "tag")


@pytest.mark.parametrize("key", WORDS)
def test_the_kind_of_a_thing_is_its_caption_where_it_has_none(key: str) -> None:
    entry = {key: "a red cat", "bbox": [0.1, 0.2, 0.5, 0.6], "bbox_format": "xyxy"}
    for source in (
        [entry],
        {"objects": [entry]},
        [{**entry, "caption": " "}],
        [{**entry, key: ["a red cat"]}],
    ):
        reading = formats.read_noted(json.dumps(source))
        assert contents(reading.layout) == contents(Layout((CAT,)))
        assert reading.warnings == ()
    (named,) = formats.read(json.dumps([{**entry, "label": "a fox"}])).instances
    assert named.caption == "a fox"


def test_a_class_without_a_name_goes_by_its_number() -> None:
    entries = [
        {"class": 0, "box": [0.1, 0.2, 0.5, 0.6], "confidence": 0.9},
        {"class": 3, "class_name": "a red cat", "box": [0.1, 0.2, 0.5, 0.6]},
        {"category_id": 17, "box": [0.1, 0.2, 0.5, 0.6]},
        {"class": True, "category": {"id": 1}, "box": [0.1, 0.2, 0.5, 0.6]},
    ]
    reading = formats.read_noted(json.dumps({"box_format": "xyxy", "objects": entries}))
    assert [item.caption for item in reading.layout.instances] == ["class 0", "a red cat", "class 17", ""]
    assert [str(warning) for warning in reading.warnings] == [
        "the names of the classes 0, 17 are not told; their numbers stand for them"
    ]


def test_words_that_are_no_caption_are_named() -> None:
    box = {"box": [0.1, 0.2, 0.5, 0.6], "box_format": "xyxy", "units": "fraction"}
    source = {
        "objects": [
            {**box, "what": "a cat", "id": "n1"},
            {**box, "what": "a dog"},
            {**box, "label": "a fox", "id": "n3"},
        ]
    }
    reading = formats.read_noted(json.dumps(source))
    assert [item.caption for item in reading.layout.instances] == ["", "", "a fox"]
    assert [str(warning) for warning in reading.warnings] == [
        '"what" is not read (in 2 of the entries)',
        '"id" is not read (in 1 of the entries)',
    ]
    assert reading.warnings[0].path == ("objects",)
    many = [{**box, f"key {number}": "a cat"} for number in range(1000)]
    assert len(formats.read_noted(json.dumps(many)).warnings) == 10


CENTRED = [
    {"x": 0.5, "y": 0.5, "w": 0.2, "h": 0.2},
    {"x": 0.5, "y": 0.5, "width": 0.2, "height": 0.2},
    {"box": {"x": 0.5, "y": 0.5, "w": 0.2, "h": 0.2}},
]


@pytest.mark.parametrize("entry", CENTRED)
def test_a_centre_that_is_told_counts_for_sides_with_names(entry: dict[str, Any]) -> None:
    thing = {"label": "cat", **entry}
    said = {"box_format": "cxcywh"}
    for source, options in (
        ({**said, "objects": [thing]}, {}),
        ({"objects": [thing]}, {"order": "cxcywh"}),
        ({"objects": [{**thing, **said}]}, {}),
        ({"box_format": "xywh", "objects": [{**thing, **said}]}, {}),
    ):
        reading = formats.read_noted(json.dumps(source), "llm", **options)
        (item,) = reading.layout.instances
        assert list(item.box) == pytest.approx([0.4, 0.4, 0.6, 0.6])
        assert (reading.order, reading.warnings) == ("cxcywh", ())


def test_an_order_that_names_of_sides_rule_out_is_told_once() -> None:
    corners = {"x0": 0.1, "y0": 0.2, "x1": 0.5, "y1": 0.6}
    things = [{"label": "a red cat", **corners}, {"label": "a dog", **corners}]
    reading = formats.read_noted(json.dumps({"objects": things}), "llm", order="xywh")
    assert list(reading.layout.instances[0].box) == [0.1, 0.2, 0.5, 0.6]
    assert [warning.code for warning in reading.warnings] == ["order_not_taken"]
    assert formats.read_noted(json.dumps({"objects": things}), "llm", order="xyxy").warnings == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("negative", "dog"),
        ("negative_prompt", "dog"),
        ("strength", 2),
        ("weight", 0.5),
        ("start", 0.2),
        ("end", 0.6),
        ("enabled", False),
        ("locked", True),
        ("color", "#ff0000"),
    ],
)
def test_what_is_said_of_a_thing_and_not_read_is_told(key: str, value: Any) -> None:
    # A document of ours but for its version.
    box = {"box": [0.6, 0.6, 0.9, 0.9]}
    items = [{"id": "1", "caption": "a cat", **box, key: value}, {"id": "2", "caption": "a dog", **box}]
    reading = formats.read_noted(json.dumps({"canvas": {"width": 64, "height": 64}, "instances": items}))
    told = [(warning.code, dict(warning.params)) for warning in reading.warnings]
    assert told == [("key_not_read", {"key": key, "count": 1})]


PLAIN = {"negative": "", "strength": 1.0, "start": 0, "end": 1, "enabled": True, "color": None}
PLAIN_WORDS = {
    "strength": "1",
    "weight": " 1.0",
    "start": "0.0",
    "end": "1",
    "enabled": "True",
    "locked": "false",
}


@pytest.mark.parametrize("plain", [PLAIN, PLAIN_WORDS], ids=["values", "words"])
def test_what_says_nothing_new_of_a_thing_is_not_told(plain: dict[str, Any]) -> None:
    text = json.dumps({"objects": [{"caption": "a cat", "box": [0.1, 0.1, 0.5, 0.4], **plain}]})
    assert formats.read_noted(text, order="xyxy").warnings == ()


@pytest.mark.parametrize("size", ["512x256", " 512 × 256 px"])
def test_a_canvas_may_be_told_in_words(size: str) -> None:
    text = json.dumps(
        {"canvas": size, "box_format": "xyxy", "objects": [{"label": "a", "box": [0, 0, 1, 1]}]}
    )
    assert formats.read(text).canvas == Canvas(512, 256)


@pytest.mark.parametrize("proportion", ["16x9", "1x1", "3 × 4", "21x9", "16x16", "1000x63"])
def test_a_proportion_is_no_size_in_pixels(proportion: str) -> None:
    thing = {"label": "a", "x0": 0.1, "y0": 0.1, "x1": 0.5, "y1": 0.5}
    source = {"size": proportion, "objects": [thing]}
    reading = formats.read_noted(json.dumps(source), "llm", canvas=Canvas(1344, 768))
    assert reading.layout.checked().canvas == Canvas(1344, 768)
    assert [(one.code, one.path) for one in reading.warnings] == [("proportion_not_read", ("size",))]
    reading = formats.read_noted(json.dumps({**source, "image_size": "640x480"}), "llm")
    assert reading.layout.canvas == Canvas(640, 480)


@pytest.mark.parametrize(("key", "value"), [("strength", "1.5"), ("enabled", "false"), ("negative", "0")])
def test_a_word_that_says_something_is_told(key: str, value: str) -> None:
    text = json.dumps({"objects": [{"caption": "a cat", "box": [0.1, 0.1, 0.5, 0.4], key: value}]})
    assert [one.code for one in formats.read_noted(text, order="xyxy").warnings] == ["key_not_read"]
