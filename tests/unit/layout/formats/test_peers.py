"""Formats of peers, which are read only: each by keys of its own, and refused at the place that is wrong."""

from __future__ import annotations

import json
from math import radians
from typing import Any

import pytest
from foreign_layouts import PAIR, contents

from instance_composer.layout import Canvas, LayoutError, Polygon, RunLength, formats
from instance_composer.layout.formats.notes import taken
from instance_composer.layout.formats.peers import READERS

SQUARE = Canvas(100, 100)
CAT = ("a cat", (0.05, 0.4, 0.45, 0.95))
DOG = ("a dog", (0.55, 0.35, 0.95, 0.95))
CORNERS = [[5, 40, 45, 95], [55, 35, 95, 95]]
FRACTIONS = [list(CAT[1]), list(DOG[1])]
LABELME = {
    "version": "5.2.1",
    "shapes": [
        {"label": "a cat", "points": [[45, 95], [5, 40]], "shape_type": "rectangle"},
        {"label": "a nose", "points": [[20, 50]], "shape_type": "point"},
        {"label": "a dog", "points": [[55, 35], [95, 35], [95, 95], [55, 95]], "shape_type": "polygon"},
    ],
    "imagePath": "a.jpg",
    "imageWidth": 100,
    "imageHeight": 100,
}
DIFFUSION = {
    "caption": "a garden",
    "width": 100,
    "height": 100,
    "annos": [
        {"bbox": [5, 40, 40, 55], "mask": [], "category_name": "cat", "caption": "a cat"},
        {"bbox": [55, 35, 40, 60], "mask": [], "category_name": "a dog", "caption": ""},
    ],
}
TOKENS = "<s>a cat<loc_50><loc_400><loc_450><loc_950>a dog<loc_550><loc_350><loc_950><loc_950></s>"
LMD = """Objects: [('a cat', [5, 40, 40, 55]), ('a dog', [55, 35, 40, 60])]
Background prompt: a garden
Negative prompt: people
"""
YOLO = """names:
  0: a cat
  1: "a dog"  # a large one
0 0.25 0.675 0.4 0.55
1 0.75 0.65 0.4 0.6 0.93
"""


def rectangle(identifier: str, label: str, sides: list[float], **more: Any) -> dict[str, Any]:
    value = dict(zip(("x", "y", "width", "height"), sides, strict=True))
    return {
        "id": identifier,
        "type": "rectanglelabels",
        "original_width": 200,
        "original_height": 100,
        "value": {**value, "rotation": 0, "rectanglelabels": [label], **more},
    }


RESULTS = [rectangle("a", "a cat", [5, 40, 40, 55]), rectangle("b", "a dog", [55, 35, 40, 60])]
TASK = {"id": 1, "data": {"image": "/data/upload/a.jpg"}, "annotations": [{"id": 9, "result": RESULTS}]}
CHOICE = {"type": "choices", "value": {"choices": ["indoors"]}}
MIN = [{"id": 1, "image": "/data/upload/a.jpg", "label": [one["value"] for one in RESULTS]}]


def region(caption: str, **shape: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": {"name": caption}}


REGIONS = [
    region("a cat", name="rect", x=5, y=40, width=40, height=55),
    region("a dog", name="rect", x=55, y=35, width=40, height=60),
]
VIA = {"a.jpg512": {"filename": "a.jpg", "size": 512, "regions": REGIONS, "file_attributes": {}}}
VIA3 = {
    "project": {"pid": "1"},
    "config": {},
    "attribute": {"1": {"aname": "thing", "type": 4, "options": {"0": "a cat", "1": "a dog"}}},
    "file": {"1": {"fid": "1", "fname": "a.jpg", "type": 2}},
    "view": {"1": {"fid_list": ["1"]}},
    "metadata": {
        "1_x": {"vid": "1", "flg": 0, "z": [], "xy": [2, 5, 40, 40, 55], "av": {"1": "0"}},
        "1_y": {"vid": "1", "flg": 0, "z": [], "xy": [2, 55, 35, 40, 60], "av": {"1": "1"}},
    },
}
STYLES = """Prompt: a garden
Layout:
a cat {width: 40px; height: 55px; left: 5px; top: 40px; }
- a dog {left: 55px; top: 35px; width: 40px; height: 60px; }
"""
MAPPING = [[0, 1, 0, 1, 1], [0.05, 0.45, 0.4, 0.95, 1.0], ["0.55:0.95", "0.35:0.95", "0.8"]]
COUPLE = {"prompt": "a garden\na cat\na dog,", "mapping": MAPPING}
ROWS = """a garden
a cat
a dog
0.0:1.0, 0.0:1.0, 1.0
0.05, 0.45, 0.4, 0.95, 1.0
0.55:0.95, 0.35:0.95, 0.8
"""
CENTRES = [[0.25, 0.675, 0.4, 0.55], [0.75, 0.65, 0.4, 0.6]]
ROBOFLOW = {
    "image": {"width": 200, "height": 100},
    "predictions": [
        {"x": 50, "y": 67.5, "width": 80, "height": 55, "class": "a cat", "confidence": 0.9},
        {"x": 150, "y": 65, "width": 80, "height": 60, "class": "a dog", "confidence": 0.8},
    ],
}
PRINTED = """[{'scores': tensor([0.9, 0.8], device='cuda:0'), 'text_labels': ['a cat', 'a dog'],
 'labels': tensor([3, 4], grad_fn=<IndexBackward0>),
 'boxes': tensor([[5., 40., 45., 95.], [55., 35., 95., 95.]])}]"""


@pytest.mark.parametrize(
    ("name", "source", "prompt"),
    [
        ("labelme", LABELME, ""),
        ("florence", {"bboxes": CORNERS, "labels": ["a cat", "a dog"]}, ""),
        ("florence", {"<OD>": {"bboxes": CORNERS, "labels": ["a cat", "a dog"]}}, ""),
        ("florence", {"bboxes": FRACTIONS, "bboxes_labels": ["a cat", "a dog"]}, ""),
        ("florence", TOKENS, ""),
        ("gligen", {"prompt": "a garden", "phrases": ["a cat", "a dog"], "boxes": FRACTIONS}, "a garden"),
        ("gligen", {"gligen_phrases": ["a cat", "a dog"], "gligen_boxes": FRACTIONS}, ""),
        ("instance-diffusion", DIFFUSION, "a garden"),
        ("migc", {"prompt": [["a garden", "a cat", "a dog"]], "bboxes": [FRACTIONS]}, "a garden"),
        ("lmd", LMD, "a garden"),
        ("yolo", YOLO, ""),
        ("yolo", YOLO.replace("names:", "path: x\nnc: 2\nnames:").replace("\n", "\r\n"), ""),
        ("yolo", "names: [a cat, 'a dog']\n0 0.25 0.675 0.4 0.55\n1 0.75 0.65 0.4 0.6", ""),
        ("yolo", "names: {1: a dog, 0: a cat}\n0 0.25 0.675 0.4 0.55\n1 0.75 0.65 0.4 0.6", ""),
        ("yolo", "a cat\na dog\n\n0 0.25 0.675 0.4 0.55\n1 0.75 0.65 0.4 0.6", ""),
        ("label-studio", [TASK], ""),
        ("label-studio", TASK, ""),
        ("label-studio", {**TASK, "predictions": TASK["annotations"], "annotations": []}, ""),
        ("label-studio", RESULTS, ""),
        ("label-studio", {"result": RESULTS}, ""),
        ("label-studio", MIN, ""),
        ("via", VIA, ""),
        ("via", {"_via_settings": {}, "_via_img_metadata": VIA}, ""),
        ("via", {"a.jpg": {"filename": "a.jpg", "regions": dict(enumerate(REGIONS))}}, ""),
        ("via", VIA3, ""),
        ("layoutgpt", STYLES, "a garden"),
        ("layoutgpt", STYLES.replace("px", "%"), "a garden"),
        ("forge-couple", COUPLE, "a garden"),
        ("forge-couple", {**COUPLE, "prompt": COUPLE["prompt"].split("\n")}, "a garden"),
        (
            "forge-couple",
            {
                "prompt": COUPLE["prompt"],
                "alwayson_scripts": {"forge couple": {"args": [True, "Advanced", MAPPING]}},
            },
            "a garden",
        ),
        ("forge-couple", ROWS, "a garden"),
        (
            "forge-couple",
            "[[0, 1, 0, 1, 1],\n[0.05, 0.45, 0.4, 0.95],\n"
            "[0.55, 0.95, 0.35, 0.95, 1]]\na garden\na cat\na dog",
            "a garden",
        ),
        ("detections", {"scores": [0.9, 0.8], "labels": ["a cat", "a dog"], "boxes": CORNERS}, ""),
        ("detections", [{"labels": [17, 18], "text_labels": ["a cat", "a dog"], "boxes": FRACTIONS}], ""),
        (
            "detections",
            {"labels": [17, 18], "id2label": {"17": "a cat", "18": "a dog"}, "boxes": CORNERS},
            "",
        ),
        ("detections", {"boxes": CENTRES, "logits": [0.4, 0.5], "phrases": ["a cat", "a dog"]}, ""),
        ("detections", ROBOFLOW, ""),
        ("detections", PRINTED, ""),
    ],
)
def test_an_example_is_recognised_and_read(name: str, source: Any, prompt: str) -> None:
    text = source if isinstance(source, str) else json.dumps(source)
    assert formats.detect(text) == name
    layout = formats.read(text, canvas=SQUARE)
    assert contents(layout) == [CAT, DOG]
    assert layout.prompt == prompt


def test_what_a_peer_tells_beside_the_boxes_is_kept() -> None:
    assert formats.read(LMD).canvas == Canvas(512, 512)
    assert formats.read(LMD).negative == "people"
    with taken() as notes:
        layout = formats.read(json.dumps(LABELME))
    assert isinstance(layout.instances[1].mask, Polygon)
    assert [str(warned) for warned in notes.warnings] == ["shape 2 is left out: a point has no area"]
    circle = {"label": "a ball", "points": [[50, 50], [60, 50]], "shape_type": "circle"}
    layout = formats.read(json.dumps({**LABELME, "shapes": [circle]}))
    assert contents(layout) == [("a ball", (0.4, 0.4, 0.6, 0.6))]


def test_outlines_are_masks() -> None:
    points = [[0.2, 0.2], [0.8, 0.2], [0.5, 0.8]]
    pairs = [[100 * x, 100 * y] for x, y in points]
    flat = [value for pair in pairs for value in pair]
    across, down = zip(*pairs, strict=True)
    task = {"type": "polygonlabels", "value": {"points": pairs, "polygonlabels": ["a kite"]}}
    polygon = region("a kite", name="polygon", all_points_x=across, all_points_y=down)
    third = {"1_x": {"vid": "1", "xy": [7, *flat], "av": {"1": "a kite"}}}
    anno = {"bbox": [20, 20, 60, 60], "caption": "a kite"}
    for source in (
        "a kite\n0 " + " ".join(str(value / 100) for value in flat),
        [task],
        {"a": {"filename": "a", "regions": [polygon]}},
        {**VIA3, "metadata": third},
        {**DIFFUSION, "annos": [{**anno, "mask": [flat]}]},
    ):
        text = source if isinstance(source, str) else json.dumps(source)
        (instance,) = formats.read(text, canvas=SQUARE).instances
        assert (instance.caption, instance.mask) == ("a kite", Polygon(tuple((x, y) for x, y in points)))
        assert tuple(instance.box) == (0.2, 0.2, 0.8, 0.8)
    rle = {"size": [2, 2], "counts": [1, 2, 1]}
    (instance,) = formats.read(json.dumps({**DIFFUSION, "annos": [{**anno, "segmentation": rle}]})).instances
    assert instance.mask == RunLength((2, 2), (1, 2, 1))


def test_a_turned_rectangle_keeps_its_corners() -> None:
    """A quarter turn clockwise about the upper left corner, on a canvas twice as wide as high."""
    turned = rectangle("a", "a cat", [50, 20, 20, 30], rotation=90)
    (instance,) = formats.read(json.dumps([turned])).instances
    assert isinstance(instance.mask, Polygon)
    # 40 pixels across become 40 down, 30 down become 30 to the left.
    assert [tuple(round(value, 6) for value in point) for point in instance.mask.points] == [
        (0.5, 0.2),
        (0.5, 0.6),
        (0.35, 0.6),
        (0.35, 0.2),
    ]


def test_circles_and_ellipses_are_their_boxes() -> None:
    ellipse = {"type": "ellipselabels", "value": {"x": 50, "y": 40, "radiusX": 10, "radiusY": 20}}
    for source in (
        [ellipse],
        {"a": {"filename": "a", "regions": [region("", name="ellipse", cx=50, cy=40, rx=10, ry=20)]}},
        {**VIA3, "metadata": {"1": {"vid": "1", "xy": [4, 50, 40, 10, 20]}}},
    ):
        assert contents(formats.read(json.dumps(source), canvas=SQUARE)) == [("", (0.4, 0.2, 0.6, 0.6))]


def test_the_box_of_a_turned_ellipse_is_around_it() -> None:
    """A quarter turn swaps the radii in pixels; an eighth of one makes both the root of their mean square."""
    for angle, (across, down) in ((90, (20, 10)), (45, (250**0.5, 250**0.5)), (180, (10, 20))):
        radii = {"name": "ellipse", "cx": 50, "cy": 40, "rx": 10, "ry": 20, "theta": radians(angle)}
        # Half as many percent of a width of 200 are as many pixels.
        value = {"x": 25, "y": 40, "radiusX": 5, "radiusY": 20, "rotation": angle}
        wide = {"original_width": 200, "original_height": 100}
        for source, width in (
            ({"a": {"filename": "a", "regions": [region("", **radii)]}}, 100),
            ([{"type": "ellipselabels", "value": value, **wide}], 200),
        ):
            (instance,) = formats.read(json.dumps(source), canvas=SQUARE).instances
            expected = [50 - across, 40 - down, 50 + across, 40 + down]
            sides = [width, 100, width, 100]
            assert [v * side for v, side in zip(instance.box, sides, strict=True)] == pytest.approx(expected)


def test_of_several_answers_the_last_is_read() -> None:
    other = (
        "Objects: [('a boat', [60, 230, 180, 160])]\nBackground prompt: a harbour\nNegative prompt: people\n"
    )
    own = "Objects: [('a cat', [60, 230, 180, 160])]\nBackground prompt: a garden"
    reading = formats.read_noted(f"{other}\n{own}")
    assert reading.layout == formats.read(own)
    assert [warning.code for warning in reading.warnings] == ["omost_several"]


def test_words_written_for_a_region_are_its_caption() -> None:
    words = {"id": "a", "type": "textarea", "value": {"text": ["a tabby cat"]}}
    whole = {"id": "w", "type": "textarea", "value": {"text": ["a garden"]}}
    layout = formats.read(json.dumps([*RESULTS, words, whole]))
    assert [item.caption for item in layout.instances] == ["a tabby cat", "a dog"]
    assert (layout.prompt, layout.canvas) == ("a garden", Canvas(200, 100))


def test_one_of_several_pictures_is_chosen() -> None:
    other = {**TASK, "id": 2, "data": {"image": "b.jpg"}, "annotations": [{"result": RESULTS[1:]}]}
    images = {**VIA, "b.jpg7": {"filename": "b.jpg", "regions": REGIONS[1:]}}
    files = {**VIA3["file"], "2": {"fid": "2", "fname": "b.jpg"}}
    third = {**VIA3, "file": files, "view": {**VIA3["view"], "2": {"fid_list": ["2"]}}}
    third["metadata"] = {**VIA3["metadata"], "2_z": {"vid": "2", "xy": [2, 55, 35, 40, 60], "av": {"1": "1"}}}
    for source in ([TASK, other], images, third):
        text = json.dumps(source)
        with pytest.raises(LayoutError, match="2 images; choose one"):
            formats.read(text, canvas=SQUARE)
        assert contents(formats.read(text, canvas=SQUARE, image="b.jpg")) == [DOG]
        with pytest.raises(LayoutError, match="0 images have the id or file name"):
            formats.read(text, canvas=SQUARE, image="c.jpg")


def test_the_grid_of_layoutgpt_is_its_own_unless_boxes_leave_it() -> None:
    small = "a cat {width: 32px; height: 16px; left: 0px; top: 16px; }"
    for canvas in (None, SQUARE):
        reading = formats.read_noted(small, canvas=canvas)
        assert contents(reading.layout) == [("a cat", (0, 0.25, 0.5, 0.5))]
        assert reading.units == "pixel of 64 × 64"
        assert reading.layout.canvas == (canvas or Canvas())
    with pytest.raises(LayoutError, match="give the canvas size"):
        formats.read(STYLES)


def test_weights_are_strengths() -> None:
    assert [item.strength for item in formats.read(ROWS).instances] == [1.0, 0.8]


@pytest.mark.parametrize(
    ("source", "warnings"),
    [
        ("7 0.5 0.5 0.2 0.2", ["the names of the classes 7 are not told; their numbers stand for them"]),
        (
            {"boxes": CORNERS, "labels": [17, 18]},
            ["the names of the classes 17, 18 are not told; their numbers stand for them"],
        ),
        ("a cat\n0 0.5 0.5 0.2 0.2 0.1 0.1 2", ['"keypoints" is not read (in 1 of the entries)']),
        ("cat<loc_1><loc_2><loc_300><loc_400> and a dog", ['"and a dog" is not read (in 1 of the entries)']),
        (
            {"bboxes": [[1, 2, 30, 40]], "bboxes_labels": ["cat"], "polygons": [[[1, 2, 3, 4, 5, 6]]]},
            ['"polygons" is not read (in 1 of the entries)'],
        ),
        (
            {"boxes": CORNERS, "labels": ["a", "b"], "masks": [[[0, 1]], [[1, 1]]]},
            ['"masks" is not read (in 1 of the entries)'],
        ),
        (
            {"predictions": [{"x": 5, "y": 5, "width": 2, "height": 2, "class": "a", "points": [{"x": 1}]}]},
            ['"points" is not read (in 1 of the entries)'],
        ),
        (
            {
                **LABELME,
                "shapes": [{"label": "a", "points": [[1, 1], [5, 5]], "shape_type": "mask", "mask": "iV"}],
            },
            ['"mask" is not read (in 1 of the entries)'],
        ),
        (
            {**TASK, "annotations": [{"result": [*RESULTS, CHOICE, {"type": "relation"}]}]},
            ['"choices" is not read (in 1 of the entries)', '"relation" is not read (in 1 of the entries)'],
        ),
        (
            {**TASK, "annotations": TASK["annotations"] * 2},
            ["of 2 answers to the task the first of annotations"],
        ),
        (
            [{"type": "brushlabels", "value": {"rle": [1]}}],
            ["shape 1 is left out: a brushlabels has no area"],
        ),
        (
            {"a": {"filename": "a", "regions": [region("", name="point", cx=1, cy=2)]}},
            ["shape 1 is left out: a point has no area"],
        ),
        (
            {**DIFFUSION, "annos": [{**DIFFUSION["annos"][0], "point": [1, 2]}]},
            ['"point" is not read (in 1 of the entries)'],
        ),
    ],
)
def test_what_is_left_out_is_told(source: Any, warnings: list[str]) -> None:
    text = source if isinstance(source, str) else json.dumps(source)
    told = [str(warning) for warning in formats.read_noted(text, canvas=SQUARE).warnings]
    assert [words[: len(start)] for words, start in zip(told, warnings, strict=True)] == warnings


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("0 0.5 0.5 0.2 0.2\n1 200 100 50 60", "line 2, column 1: expected"),
        ("0 0.5 0.5 0.2 0.2 0.1 0.1 2 0.1 0.1", "line 1, column 1: expected"),
        ("0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2", "line 2, column 1: expected"),
        ("names: [cat]\n0 0.5 0.5 0.2 0.2\n0 nan nan nan nan", "line 3, column 1: expected"),
        ("0 0.5 0.5 0.2 0.2\n1.0 0.5 0.5 0.2 0.2", "line 2, column 1: expected"),
        (
            "a {left: 1px; top: 1px; width: 9px; height: 9px}\nb {left: 1px; top",
            "line 2, column 4: expected left",
        ),
        (
            "a {left: 1px; top: 1px; width: 9px; height: 9px}\nb {\nleft: 1px; top: 1px;\n}",
            "line 2, column 4: expected left",
        ),
        ("cat<loc_1><loc_2><loc_3><loc_4>dog<loc_5><loc_6>", 'the box of "dog" must be a list of 4 numbers'),
        (
            "a {left: 1px; top: 1px; width: 9px; height: 9px}\nb {left: 1px}",
            "line 2, column 4: expected left",
        ),
        ("a {left: 1px; top: 1%; width: 9px; height: 9px}", "pixels and percent stand side by side"),
        ({**COUPLE, "prompt": "a cat"}, "mapping has 3 entries and prompt has 1"),
        ({**COUPLE, "mapping": [[0, 1]]}, "row 1 must be a list of 5 numbers"),
        ({**COUPLE, "mapping": [["0:a", "0:1"]]}, 'row 1 must be a number, got "a"'),
        ({"boxes": CORNERS, "labels": ["a cat"]}, "boxes has 2 entries and labels has 1"),
        ({"boxes": [[1, 2]], "labels": ["a cat"]}, "box 1 must be a list of 4 numbers"),
        ({"boxes": CORNERS, "labels": [None, None]}, "label 1 must be a text, got null"),
        ({**VIA3, "metadata": {"1": {"vid": "1", "xy": [2, 5]}}}, "region 1 must be a list of 4 numbers"),
        ({"a": {"filename": "a", "regions": [region("", name="rect", x=1)]}}, "y must be a number, got null"),
        (
            [{"type": "rectanglelabels", "value": {"x": "1", "y": 1, "width": 1, "height": 1}}],
            "x must be a number",
        ),
        ({"bboxes": CORNERS, "labels": ["a cat"]}, "bboxes has 2 entries and labels has 1"),
        ({"bboxes": [[1, 2, 3]], "labels": ["a cat"]}, "box 1 must be a list of 4 numbers"),
        ({"phrases": ["a cat"], "boxes": FRACTIONS}, "phrases has 1 entries and boxes has 2"),
        ({"prompt": [["a", "b"], ["c"]], "bboxes": [[[0, 0, 1, 1]]]}, "prompt must hold one picture, got 2"),
        ({"prompt": [["a", "b"]], "bboxes": [FRACTIONS]}, "bboxes has 2 entries and prompt has 1"),
        ({"annos": [{"bbox": [1, 2, 3, 4]}]}, "give the canvas size"),
        ({"width": 9, "height": 9, "annos": [{"bbox": None}]}, "annotation 1: bbox must be a list"),
        ({**LABELME, "shapes": [{"points": [[1, 2]]}]}, "shape 1: points must be two points or more, got 1"),
        ("Objects: [('a cat', 5)]\nBackground prompt: a", "object 1 must be a list of 4 numbers"),
    ],
)
def test_what_is_wrong_is_named(source: Any, words: str) -> None:
    canvas = None if "canvas" in words else SQUARE
    with pytest.raises(LayoutError, match=words):
        formats.read(source if isinstance(source, str) else json.dumps(source), canvas=canvas)


@pytest.mark.parametrize("name", READERS)
def test_peers_are_not_written(name: str) -> None:
    with pytest.raises(LayoutError, match="are read and not written"):
        formats.write(PAIR, name)


@pytest.mark.parametrize(
    ("xy", "box"),
    [
        # The points that people clicked, in any order: on the four edges of a box, on a circle.
        ([8, 5, 60, 20, 95, 45, 70, 30, 40], (0.05, 0.4, 0.45, 0.95)),
        ([9, 60, 50, 50, 60, 40, 50], (0.4, 0.4, 0.6, 0.6)),
        ([9, 50, 40, 60, 50, 50, 60], (0.4, 0.4, 0.6, 0.6)),
        ([9, 53, 46, 47, 54, 54, 53], (0.45, 0.45, 0.55, 0.55)),
        ([2.0, 5, 40, 40, 55], (0.05, 0.4, 0.45, 0.95)),
    ],
)
def test_shapes_of_via_3_are_read_as_it_keeps_them(xy: list[float], box: tuple[float, ...]) -> None:
    source = {**VIA3, "metadata": {"1_x": {"vid": "1", "xy": xy, "av": {"1": "0"}}}}
    assert contents(formats.read(json.dumps(source), canvas=SQUARE)) == [("a cat", box)]


@pytest.mark.parametrize(
    ("xy", "words"),
    [
        ([0, 1, 2], "shape 1 is left out: a shape 0 has no area that is read"),
        ([0.5, 3, 4], "shape 1 is left out: a shape 0.5 has no area that is read"),
        ([2.5, 10, 10, 50, 50], "shape 1 is left out: a shape 2.5 has no area that is read"),
        ([12, 3, 4], "shape 1 is left out: a shape 12 has no area that is read"),
        ([-1], "shape 1 is left out: a shape -1 has no area that is read"),
        ([9, 1, 1, 2, 2, 3, 3], "shape 1 is left out: a circle of points has no area that is read"),
        ([6, 1, 1, 2, 2], "shape 1 is left out: a polyline has no area"),
    ],
)
def test_shapes_of_via_3_that_are_none_are_left_out(xy: list[float], words: str) -> None:
    metadata = {"1_x": {"vid": "1", "xy": xy, "av": {}}, "1_y": VIA3["metadata"]["1_y"]}
    reading = formats.read_noted(json.dumps({**VIA3, "metadata": metadata}), canvas=SQUARE)
    assert contents(reading.layout) == [DOG]
    assert [str(warning) for warning in reading.warnings] == [words]


@pytest.mark.parametrize(
    ("xy", "words"), [([8, 1, 2], "two points or more, got 1"), ([9, 1, 2, 3], "of 6 numbers")]
)
def test_points_of_via_3_that_are_too_few_are_named(xy: list[float], words: str) -> None:
    source = {**VIA3, "metadata": {"1_x": {"vid": "1", "xy": xy}}}
    with pytest.raises(LayoutError, match=f"region 1 must be .*{words}"):
        formats.read(json.dumps(source), canvas=SQUARE)


@pytest.mark.parametrize("kind", ["rotation", "oriented_rectangle", "quadrilateral"])
def test_boxes_of_four_corners_are_outlines(kind: str) -> None:
    corners = [[50, 20], [80, 50], [50, 80], [20, 50]]
    shape = {"label": "a kite", "points": corners, "shape_type": kind, "direction": 0.785}
    with taken() as notes:
        (instance,) = formats.read(json.dumps({**LABELME, "shapes": [shape]})).instances
    assert notes.warnings == []
    assert tuple(instance.box) == (0.2, 0.2, 0.8, 0.8)
    assert instance.mask == Polygon(tuple((x / 100, y / 100) for x, y in corners))
    shape["points"] = [[20, 20], [80, 80]]
    (instance,) = formats.read(json.dumps({**LABELME, "shapes": [shape]})).instances
    assert (tuple(instance.box), instance.mask) == ((0.2, 0.2, 0.8, 0.8), None)


def test_only_what_has_no_area_is_said_to_have_none() -> None:
    kinds = ["cuboid", "linestrip", "points", "line"]
    shapes = [{"label": "a", "points": [[1, 1], [5, 5]], "shape_type": kind} for kind in kinds]
    shapes.append(LABELME["shapes"][0])
    for source, endings in (
        (
            {**LABELME, "shapes": shapes},
            ["a cuboid has no area that is read", *(f"a {k} has no area" for k in kinds[1:])],
        ),
        (
            [
                {"type": "bitmasklabels", "value": {"imageDataURL": "x"}},
                {"type": "keypointlabels", "value": {"x": 1}},
            ],
            ["a bitmasklabels has no area that is read", "a keypointlabels has no area"],
        ),
        (
            {"a": {"filename": "a", "regions": [region("", name="heart"), region("", name="polyline")]}},
            ["a heart has no area that is read", "a polyline has no area"],
        ),
    ):
        told = [str(warning) for warning in formats.read_noted(json.dumps(source), canvas=SQUARE).warnings]
        assert [words.partition(": ")[2] for words in told] == endings


@pytest.mark.parametrize("key", ["class", "class_name", "category", "category_name", "title", "tag"])
def test_the_kind_of_a_thing_is_its_caption_where_it_has_none(key: str) -> None:
    anno = {"bbox": [5, 40, 40, 55], key: "a cat"}
    for source in ({**DIFFUSION, "annos": [anno]}, {**DIFFUSION, "annos": [{**anno, "caption": ""}]}):
        assert contents(formats.read(json.dumps(source))) == [CAT]
