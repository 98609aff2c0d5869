"""Order and unit of four numbers: read where they are certain, honoured where told, asked for where open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from foreign_layouts import contents

from instance_composer.layout import Canvas, LayoutError, formats

SQUARE = Canvas(1024, 1024)
TWO = [
    {"bbox_2d": [52, 180, 430, 610], "label": "a tabby cat"},
    {"bbox_2d": [560, 150, 980, 700], "label": "a black dog"},
]
TYPED = [
    {"type": "text", "text": "OPEN LATE", "bbox": [100, 50, 900, 250]},
    {"type": "image", "label": "a red bicycle", "bbox": [300, 400, 700, 900]},
]
SIDES = [
    {"caption": "a tabby cat", "x": 51, "y": 410, "width": 410, "height": 563},
    {"description": "a black dog", "x": 563, "y": 358, "width": 410, "height": 614},
]
CAT = [("a cat", (0.05, 0.35, 0.45, 0.85))]


def refused(data: Any, **options: Any) -> str:
    with pytest.raises(LayoutError) as caught:
        formats.read(json.dumps(data), **options)
    return caught.value.code


def test_boxes_of_qwen_are_x_first_and_their_unit_is_asked_for_where_two_fit() -> None:
    assert formats.detect(json.dumps(TWO)) == "llm"
    assert refused(TWO) == "no_unit"
    assert refused(TWO, canvas=SQUARE) == "unit_open"
    assert refused(TWO[:1], canvas=SQUARE) == "unit_open"
    expected = [
        ("a tabby cat", (0.052, 0.18, 0.43, 0.61)),
        ("a black dog", (0.56, 0.15, 0.98, 0.7)),
    ]
    assert contents(formats.read(json.dumps(TWO), units="grid1000")) == expected
    # Only a grid of 1000 puts them on this canvas.
    assert contents(formats.read(json.dumps(TWO), canvas=Canvas(512, 512))) == expected
    large = [{"bbox_2d": [100, 200, 1200, 1400], "label": "a cat"}]
    assert formats.read(json.dumps(large), canvas=Canvas(2000, 2000)).instances[0].box.x0 == 0.05


def test_boxes_of_gemini_in_fractions_are_fractions() -> None:
    data = [{"box_2d": [0.35, 0.05, 0.85, 0.45], "label": "a cat"}]
    assert contents(formats.read(json.dumps(data))) == CAT
    told = {"box_format": "xyxy", "objects": [{"box_2d": [50, 350, 450, 850], "label": "a cat"}]}
    assert contents(formats.read(json.dumps(told))) == CAT


def test_bare_numbers_are_asked_about_where_a_grid_of_1000_fits_as_well() -> None:
    data = [{"label": "a cat", "bbox": [52, 180, 430, 610]}]
    assert refused(data, canvas=SQUARE, order="xyxy") == "unit_open"
    assert refused(data, canvas=Canvas(400, 400), order="xyxy") == "unit_open"
    read = formats.read(json.dumps(data), canvas=SQUARE, order="xyxy", units="pixel")
    assert read.instances[0].box.x0 == 52 / 1024


def test_typed_boxes_of_others_are_not_taken_for_elements_of_ideogram() -> None:
    assert formats.detect(json.dumps(TYPED)) == "llm"
    assert refused(TYPED) == "no_unit"
    layout = formats.read(json.dumps(TYPED), canvas=SQUARE, units="pixel", order="xyxy")
    assert [item.caption for item in layout.instances] == ["OPEN LATE", "a red bicycle"]
    assert tuple(layout.instances[1].box) == (300 / 1024, 400 / 1024, 700 / 1024, 900 / 1024)
    fractions = [{"type": "obj", "desc": "a cat", "bbox": [0.05, 0.35, 0.45, 0.85]}]
    assert contents(formats.read(json.dumps(fractions), order="xyxy")) == CAT


def test_a_told_order_of_typed_boxes_is_honoured() -> None:
    item = {"type": "obj", "desc": "a cat", "box_format": "xywh", "bbox": [0.05, 0.35, 0.4, 0.5]}
    assert contents(formats.read(json.dumps([item]))) == CAT


def test_sides_with_captions_of_others_keep_their_captions() -> None:
    assert formats.detect(json.dumps(SIDES)) == "llm"
    assert refused(SIDES) == "no_unit"
    layout = formats.read(json.dumps(SIDES), canvas=SQUARE)
    assert [item.caption for item in layout.instances] == ["a tabby cat", "a black dog"]
    assert tuple(layout.instances[0].box) == (51 / 1024, 410 / 1024, 461 / 1024, 973 / 1024)
    # Chosen by name, ComfyUI's reader finds the captions too.
    chosen = formats.read(json.dumps(SIDES), "bounding-boxes", canvas=SQUARE)
    assert [item.caption for item in chosen.instances] == ["a tabby cat", "a black dog"]


@pytest.mark.parametrize("caption", ["caption", "label", "name", "prompt"])
def test_sides_in_fractions_are_fractions(caption: str) -> None:
    data = [{caption: "a cat", "x": 0.05, "y": 0.35, "width": 0.4, "height": 0.5}]
    for canvas in (None, SQUARE):
        assert contents(formats.read(json.dumps(data), canvas=canvas)) == CAT


@pytest.mark.parametrize(
    ("order", "box"),
    [
        ("cxcywh", [0.25, 0.6, 0.4, 0.5]),
        ("CxCyWH", [0.25, 0.6, 0.4, 0.5]),
        ("[x1, y1, x2, y2]", [0.05, 0.35, 0.45, 0.85]),
        ("left, top, width, height", [0.05, 0.35, 0.4, 0.5]),
        ("ymin, xmin, ymax, xmax", [0.35, 0.05, 0.85, 0.45]),
    ],
)
def test_orders_go_by_their_usual_names(order: str, box: list[float]) -> None:
    data = {"box_format": order, "units": "fraction", "objects": [{"name": "a cat", "bbox": box}]}
    assert contents(formats.read(json.dumps(data))) == CAT


@pytest.mark.parametrize(
    "sides",
    [
        {"cx": 0.25, "cy": 0.6, "w": 0.4, "h": 0.5},
        {"x_center": 0.25, "y_center": 0.6, "width": 0.4, "height": 0.5},
        {"x": 0.25, "y": 0.6, "width": 0.4, "height": 0.5, "box_format": "cxcywh"},
        {"bbox": [5, 35, 40, 50], "unit": "percent", "format": "xywh"},
    ],
)
def test_centres_and_units_of_single_boxes_are_read(sides: dict[str, Any]) -> None:
    assert contents(formats.read(json.dumps([{"label": "a cat", **sides}]))) == CAT


def test_an_empty_description_gives_way_to_the_next_name() -> None:
    item = {"name": "a cat", "description": " ", "caption": [], "bbox": [0.05, 0.35, 0.45, 0.85]}
    assert contents(formats.read(json.dumps([item]), order="xyxy")) == CAT


def warned(text: str, **options: Any) -> list[str]:
    return [warning.code for warning in formats.read_noted(text, **options).warnings]


@pytest.mark.parametrize("side", [300, 512, 640, 1000, 1024])
@pytest.mark.parametrize(
    "entry",
    [
        {"label": "a cat", "bbox": [52, 90, 260, 280], "format": "xyxy"},
        {"label": "a cat", "bbox_2d": [52, 90, 260, 280]},
        ["a cat", [52, 90, 260, 280]],
    ],
)
def test_no_canvas_makes_pixels_of_a_grid_in_silence(side: int, entry: Any) -> None:
    canvas = Canvas(side, side)
    with pytest.raises(LayoutError) as caught:
        formats.read(json.dumps([entry]), canvas=canvas, order="xyxy")
    assert (caught.value.code, caught.value.params["choices"]) == ("unit_open", "pixel, grid1000")
    for units, size in (("pixel", side), ("grid1000", 1000)):
        box = formats.read(json.dumps([entry]), canvas=canvas, order="xyxy", units=units).instances[0].box
        assert box.x0 == 52 / size
    told = {"canvas": [side, side], "objects": [entry]}
    if "bbox_2d" not in entry:
        assert formats.read(json.dumps(told), order="xyxy").instances[0].box.x0 == 52 / side


def test_percent_is_among_the_choices_where_it_fits() -> None:
    data = [{"label": "a cat", "bbox": [5, 35, 45, 85]}]
    with pytest.raises(LayoutError, match="any of pixel, percent, grid1000"):
        formats.read(json.dumps(data), canvas=SQUARE, order="xyxy")
    assert contents(formats.read(json.dumps(data), canvas=SQUARE, order="xyxy", units="%")) == CAT


def test_sides_with_names_are_pixels_by_custom_which_is_told_where_others_fit() -> None:
    large = [{"label": "a cat", "x": 50, "y": 350, "width": 1200, "height": 500}]
    assert warned(json.dumps(SIDES), canvas=SQUARE) == ["unit_taken"]
    assert warned(json.dumps(large), canvas=Canvas(2000, 2000)) == []
    assert warned(json.dumps({"units": "pixel", "objects": SIDES}), canvas=SQUARE) == []
    found = [{"score": 0.9, "label": "a cat", "box": {"xmin": 51, "ymin": 358, "xmax": 461, "ymax": 870}}]
    assert warned(json.dumps(found), canvas=SQUARE) == []
    # On this canvas they cannot be pixels.
    assert refused(SIDES, canvas=Canvas(512, 512)) == "unit_open"


def test_lines_in_pixels_of_a_canvas_that_the_text_does_not_tell_are_told_of() -> None:
    text = "50 350 450 850: a cat"
    assert warned(text, canvas=SQUARE) == ["unit_taken"]
    assert warned(f"canvas: 1024 x 1024\n{text}") == []
    assert warned("50 350 450 1010: a cat", canvas=SQUARE) == []
    assert warned(text, canvas=SQUARE, units="pixel") == []
    for canvas in (None, SQUARE):
        assert contents(formats.read(text, canvas=canvas, units="grid1000")) == CAT
    assert contents(formats.read("5% 35 45 85: a cat", units="percent")) == CAT
    with pytest.raises(LayoutError, match="give the canvas size"):
        formats.read(text, units="pixel")


def test_a_corner_with_a_size_is_told_of_where_a_centre_fits() -> None:
    assert warned('[{"label": "a cat", "bbox": [0.5, 0.5, 0.3, 0.4]}]') == ["order_taken"]
    assert warned('[{"label": "a cat", "bbox": [0.1, 0.5, 0.3, 0.4]}]') == []
    assert warned('[{"label": "a cat", "bbox": [0.5, 0.5, 0.3, 0.4]}]', order="xywh") == []


def test_points_have_no_area_and_masks_in_pictures_are_not_read() -> None:
    box = {"box_2d": [350, 50, 850, 450], "label": "a cat", "mask": "data:image/png;base64,AAAA"}
    for point in ({"point_2d": [10, 20], "label": "a nose"}, {"point": [10, 20], "label": "a nose"}):
        reading = formats.read_noted(json.dumps([point, box]))
        assert contents(reading.layout) == CAT
        assert [str(warning) for warning in reading.warnings] == [
            "shape 1 is left out: a point has no area",
            '"mask" is not read (in 1 of the entries)',
        ]
        assert refused([point, point]) == "only_points"
