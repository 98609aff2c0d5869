"""ComfyUI's own boxes: what each example means, round trips, what is refused and where."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from foreign_layouts import CANVAS, CAT, VASE, check_reading, same
from hypothesis import given
from layouts import fewer, plain_layouts

from instance_composer.layout import Canvas, Layout, LayoutError, Polygon, formats
from instance_composer.layout.formats import bounding_boxes

BOXES = [
    {
        "x": 20,
        "y": 20,
        "width": 80,
        "height": 40,
        "metadata": {"type": "obj", "desc": "a red cat", "palette": ["#ff0000"]},
    },
    {"x": 80.0, "y": 40.0, "width": 100.0, "height": 50.0, "label": "vase", "score": 0.9},
]


@pytest.mark.parametrize(
    ("source", "canvas", "prompt", "expected"),
    [
        (BOXES, CANVAS, "", [("a red cat", CAT.box), ("vase", VASE.box)]),
        ([BOXES], CANVAS, "", [("a red cat", CAT.box), ("vase", VASE.box)]),
        (BOXES[0], CANVAS, "", [("a red cat", CAT.box)]),
        ([], CANVAS, "", []),
    ],
)
def test_an_example_is_detected_and_read(
    source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    check_reading("bounding-boxes", source, canvas, prompt, expected)


def test_metadata_comes_back() -> None:
    metadata = {"type": "text", "text": "SALE", "desc": "a sign", "palette": ["#ff0000", "#00ff00"]}
    box = {"x": 20, "y": 20, "width": 80, "height": 40, "metadata": metadata}
    layout = bounding_boxes.read([box], canvas=CANVAS)
    assert layout.instances[0].color == "#ff0000"
    written = bounding_boxes.write(Layout.from_json(layout.to_json()))
    assert written == [{**box, "metadata": {**metadata, "desc": 'a sign, the text "SALE"'}}]


def test_the_canvas_and_one_of_several_frames_must_be_told() -> None:
    with pytest.raises(LayoutError, match="give the canvas size"):
        formats.read(json.dumps(BOXES))
    with pytest.raises(LayoutError, match="boxes for 2 pictures; choose a frame from 0 to 1"):
        bounding_boxes.read([BOXES, []], canvas=CANVAS)
    assert bounding_boxes.read([BOXES, []], canvas=CANVAS, frame=1).instances == ()
    with pytest.raises(LayoutError, match="frame 2 does not exist"):
        bounding_boxes.read([BOXES, []], canvas=CANVAS, frame=2)


def test_the_bounds_of_a_mask_are_written() -> None:
    layout = Layout((replace(CAT, mask=Polygon(((0.5, 0.5), (1.0, 0.5), (1.0, 1.0)))),), CANVAS)
    assert {key: bounding_boxes.write(layout)[0][key] for key in ("x", "y", "width", "height")} == {
        "x": 100,
        "y": 50,
        "width": 100,
        "height": 50,
    }


@fewer
@given(plain_layouts())
def test_whole_pixels_come_back(layout: Layout) -> None:
    boxes = bounding_boxes.write(layout)
    assert formats.detect(json.dumps(boxes)) == "bounding-boxes"
    read = bounding_boxes.read(boxes, canvas=layout.canvas).checked()
    pixel = 1 / min(layout.canvas.width, layout.canvas.height)
    assert same(replace(read, prompt=layout.prompt), layout, pixel)
    assert bounding_boxes.write(read) == boxes


def test_detected_layouts_keep_odd_values_for_the_author_to_see() -> None:
    layout = bounding_boxes.read([{"x": 0, "y": math.nan, "width": -5, "height": 5}], canvas=CANVAS)
    assert [problem.severity for problem in layout.problems()].count("error") == 1


@pytest.mark.parametrize("key", ["class", "class_name", "category", "category_name", "title", "tag"])
def test_the_kind_of_a_thing_is_its_caption_where_it_has_none(key: str) -> None:
    box = {"x": 10, "y": 20, "width": 40, "height": 40}
    for source, caption in (({**box, key: "a cat"}, "a cat"), ({**box, key: 3}, "class 3")):
        (instance,) = formats.read(json.dumps([source]), "bounding-boxes", canvas=Canvas(100, 100)).instances
        assert instance.caption == caption
    (instance,) = formats.read(
        json.dumps([{**box, key: "a", "label": "b"}]), "bounding-boxes", canvas=Canvas(100, 100)
    ).instances
    assert instance.caption == "b"
