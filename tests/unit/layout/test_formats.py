"""Other programs' layouts: what each example means, round trips, what is refused and where."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import fewer, plain_layouts, rasters

from instance_composer.layout import (
    Box,
    Canvas,
    FormatError,
    Instance,
    Layout,
    LayoutError,
    Polygon,
    RunLength,
    formats,
)
from instance_composer.layout.formats import (
    bounding_boxes,
    coco,
    ideogram,
    omost,
)

CANVAS = Canvas(200, 100)
CAT = Instance("1", Box(0.1, 0.2, 0.5, 0.6), "a red cat")
VASE = Instance("2", Box(0.4, 0.4, 0.9, 0.9), "a blue vase")
PAIR = Layout((CAT, VASE), CANVAS, "a cat beside a vase")


def contents(layout: Layout) -> list[tuple[str, tuple[float, ...]]]:
    return [(item.caption, tuple(round(value, 6) for value in item.box)) for item in layout.instances]


IFADAPTER = {
    "caption": "two hats",
    "annotations": [{"box": [192, 96, 384, 192], "caption": ["a red hat", "felt"]}],
}
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
OMOST = """Here is the canvas.
```python
canvas = Canvas()
canvas.set_global_description(description='A quiet room.', detailed_descriptions=['Evening light'], tags='')
canvas.add_local_description(
    location='on the left', offset='slightly to the upper', area='a small square area',
    distance_to_viewer=2.0, description='a vase', detailed_descriptions=['Blue.', 'Porcelain,'], tags='vase',
    atmosphere='calm', style='photo', quality_meta='sharp', HTML_web_color_name='blue')
canvas.add_local_description('in the center', 'no offset', 'a large vertical area', 9.0, 'a wall', [])
```
"""
CONDITIONS = [
    {"rect": [0, 90, 0, 90], "prefixes": ["A room."], "suffixes": ["Evening."], "color": [1, 2, 3]},
    {
        "rect": [9, 45, 18, 81],
        "prefixes": ["A room.", "a vase."],
        "suffixes": ["Blue."],
        "color": [255, 0, 16],
    },
]
ELEMENTS = [
    {
        "type": "obj",
        "bbox": [200, 100, 600, 500],
        "desc": "a red cat",
        "color_palette": ["#FF0000", "#00FF00"],
    },
    {"type": "text", "bbox": [0, 0, 100, 1000], "text": "SALE", "desc": "a sign"},
]
IDEOGRAM = {
    "high_level_description": "a shop",
    "style_description": {"aesthetics": "moody", "lighting": "", "medium": "photograph", "photo": "35mm"},
    "compositional_deconstruction": {"background": "a street", "elements": ELEMENTS},
}
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
LINES = """a cat beside a vase
negative: blurry

0.1 0.2 0.5 0.6: a red cat
[40%, 40%, 90%, 90%]: a vase: blue
"""
ANSWER = """Sure! Here is the layout you asked for:
```json
{"scene": "a room", "image_size": [200, 100],
 "objects": [{"label": "a red cat", "bbox": [20, 20, 100, 60]},
             {"label": "a vase", "bbox": [80, 40, 180, 90]}]}
```
Enjoy [it]!"""


@pytest.mark.parametrize(
    ("name", "source", "canvas", "prompt", "expected"),
    [
        ("layout", PAIR.to_json(), None, PAIR.prompt, contents(PAIR)),
        ("ifadapter", IFADAPTER, None, "two hats", [("a red hat, felt", (0.25, 0.125, 0.75, 0.375))]),
        ("ifadapter", IFADAPTER, Canvas(960, 960), "two hats", [("a red hat, felt", (0.2, 0.1, 0.6, 0.3))]),
        ("coco", COCO, None, "", [("cat", (0.1, 0.2, 0.5, 0.6))]),
        (
            "omost",
            OMOST,
            None,
            "A quiet room. Evening light.",
            # the wall is farther away; rectangles are centre ± half the area on the grid of 90
            [("a wall", (1 / 6, 0, 5 / 6, 1)), ("a vase. Blue. Porcelain.", (0, 1 / 9, 4 / 9, 2 / 3))],
        ),
        ("omost", CONDITIONS, None, "A room. Evening.", [("a vase. Blue.", (0.2, 0.1, 0.9, 0.5))]),
        (
            "ideogram",
            IDEOGRAM,
            None,
            "a shop, a street, moody, 35mm, photograph",
            [("a red cat", (0.1, 0.2, 0.5, 0.6)), ('a sign, the text "SALE"', (0, 0, 1, 0.1))],
        ),
        ("ideogram", ELEMENTS[:1], None, "", [("a red cat", (0.1, 0.2, 0.5, 0.6))]),
        ("ideogram", ELEMENTS[0], None, "", [("a red cat", (0.1, 0.2, 0.5, 0.6))]),
        ("bounding-boxes", BOXES, CANVAS, "", [("a red cat", CAT.box), ("vase", VASE.box)]),
        ("bounding-boxes", [BOXES], CANVAS, "", [("a red cat", CAT.box), ("vase", VASE.box)]),
        ("bounding-boxes", BOXES[0], CANVAS, "", [("a red cat", CAT.box)]),
        ("bounding-boxes", [], CANVAS, "", []),
        ("lines", LINES, None, PAIR.prompt, [("a red cat", CAT.box), ("a vase: blue", VASE.box)]),
        ("lines", "canvas: 200 x 100\n20 20 100 60: a red cat", None, "", [("a red cat", CAT.box)]),
        ("lines", "20,20,100,60: a red cat", CANVAS, "", [("a red cat", CAT.box)]),
        ("llm", ANSWER, None, "a room", [("a red cat", CAT.box), ("a vase", VASE.box)]),
    ],
)
def test_each_format_is_detected_and_read(
    name: str, source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    text = source if isinstance(source, str) else json.dumps(source)
    assert formats.detect(text) == name
    layout = formats.read(text, canvas=canvas).checked()
    assert layout.prompt == prompt
    assert contents(layout) == [
        (caption, tuple(round(value, 6) for value in box)) for caption, box in expected
    ]
    if not isinstance(source, str):
        assert formats.find(name).read(source, canvas=canvas) == layout


def same(read: Layout, written: Layout, tolerance: float) -> bool:
    """The same prompt, captions and boxes, these within a fraction of the canvas."""
    pairs = list(zip(read.instances, written.instances, strict=True))
    return read.prompt == written.prompt and all(
        one.caption == other.caption
        and all(abs(a - b) <= tolerance for a, b in zip(one.box, other.box, strict=True))
        for one, other in pairs
    )


# How exactly each format keeps a box: grids by half a cell, plus one where a box falls between two lines.
TOLERANCES = {
    "layout": 0.0,
    "llm": 0.0,
    "lines": 0.0,
    "ifadapter": 1e-6,
    "coco": 1e-5,
    "ideogram": 0.0006,
    "omost": 0.006,
}


@fewer
@given(plain_layouts())
@pytest.mark.parametrize("name", sorted(TOLERANCES))
def test_what_is_written_is_detected_and_read_back(name: str, layout: Layout) -> None:
    if name == "lines":
        flat = tuple(replace(item, caption=" ".join(item.caption.split())) for item in layout.instances)
        layout = replace(layout, instances=flat, prompt=" ".join(layout.prompt.split()))
    text = formats.write(layout, name)
    if layout.instances:
        assert formats.detect(text) == name
    read = formats.read(text, name, canvas=None if name == "ifadapter" else layout.canvas).checked()
    assert same(read, layout, TOLERANCES[name])
    if name in ("layout", "llm", "lines", "coco"):
        assert read.canvas == layout.canvas
    assert same(formats.read(formats.write(read, name), name), read, 1e-9 if name != "coco" else 1e-5)


@fewer
@given(plain_layouts())
def test_bounding_boxes_keep_whole_pixels(layout: Layout) -> None:
    boxes = bounding_boxes.write(layout)
    assert formats.detect(json.dumps(boxes)) == "bounding-boxes"
    read = bounding_boxes.read(boxes, canvas=layout.canvas).checked()
    pixel = 1 / min(layout.canvas.width, layout.canvas.height)
    assert same(replace(read, prompt=layout.prompt), layout, pixel)
    assert bounding_boxes.write(read) == boxes


def test_instances_that_are_switched_off_are_not_exported() -> None:
    layout = Layout((replace(CAT, enabled=False), VASE), CANVAS)
    for name in formats.FORMATS:
        read = formats.read(formats.write(layout, name), name, canvas=CANVAS)
        assert [item.caption for item in read.active] == ["a blue vase"]


def test_layouts_with_errors_are_not_exported() -> None:
    broken = Layout((replace(CAT, box=Box(0.5, 0.2, 0.1, 0.6)),))
    for name in formats.FORMATS:
        with pytest.raises(LayoutError, match="inverted"):
            formats.write(broken, name)


def test_detected_layouts_keep_odd_values_for_the_author_to_see() -> None:
    layout = bounding_boxes.read([{"x": 0, "y": math.nan, "width": -5, "height": 5}], canvas=CANVAS)
    assert [problem.severity for problem in layout.problems()].count("error") == 1


class TestBoundingBoxes:
    def test_metadata_comes_back(self) -> None:
        metadata = {"type": "text", "text": "SALE", "desc": "a sign", "palette": ["#ff0000", "#00ff00"]}
        box = {"x": 20, "y": 20, "width": 80, "height": 40, "metadata": metadata}
        layout = bounding_boxes.read([box], canvas=CANVAS)
        assert layout.instances[0].color == "#ff0000"
        written = bounding_boxes.write(Layout.from_json(layout.to_json()))
        assert written == [{**box, "metadata": {**metadata, "desc": 'a sign, the text "SALE"'}}]

    def test_the_canvas_and_one_of_several_frames_must_be_told(self) -> None:
        with pytest.raises(LayoutError, match="give the canvas size"):
            formats.read(json.dumps(BOXES))
        with pytest.raises(LayoutError, match="boxes for 2 pictures; choose a frame from 0 to 1"):
            bounding_boxes.read([BOXES, []], canvas=CANVAS)
        assert bounding_boxes.read([BOXES, []], canvas=CANVAS, frame=1).instances == ()
        with pytest.raises(LayoutError, match="frame 2 does not exist"):
            bounding_boxes.read([BOXES, []], canvas=CANVAS, frame=2)

    def test_the_bounds_of_a_mask_are_written(self) -> None:
        layout = Layout((replace(CAT, mask=Polygon(((0.5, 0.5), (1.0, 0.5), (1.0, 1.0)))),), CANVAS)
        assert {key: bounding_boxes.write(layout)[0][key] for key in ("x", "y", "width", "height")} == {
            "x": 100,
            "y": 50,
            "width": 100,
            "height": 50,
        }


class TestCoco:
    def test_polygons_and_run_lengths_come_back(self) -> None:
        raster = RunLength.from_raster(b"\0\1\1\0" * 3, 4, 3)
        triangle = Polygon(((0.1, 0.2), (0.5, 0.2), (0.1, 0.6)))
        layout = Layout((replace(CAT, mask=triangle), replace(VASE, mask=raster)), CANVAS)
        read = coco.read(coco.write(layout))
        assert read.instances[1].mask == raster
        assert all(
            math.isclose(a, b)
            for one, other in zip(read.instances[0].mask.points, triangle.points, strict=True)
            for a, b in zip(one, other, strict=True)
        )

    def test_compressed_counts_are_read(self) -> None:
        # Made by hand from the rule: one digit up to 15, two digits from 16 on, differences from the fourth.
        assert coco.decode_counts("021") == [0, 2, 1]
        assert coco.decode_counts("P1") == [32]
        assert coco.decode_counts("5432") == [5, 4, 3, 6]
        assert coco.decode_counts("543N") == [5, 4, 3, 2]

    @given(rasters())
    def test_compression_is_undone(self, raster: tuple[bytes, int, int]) -> None:
        mask = RunLength.from_raster(*raster)
        data = json.loads(json.dumps(COCO))
        data["annotations"][0]["segmentation"] = {"size": list(mask.size), "counts": compressed(mask.counts)}
        assert coco.read(data).instances[0].mask == mask

    @pytest.mark.parametrize(("text", "column"), [("0 1", 2), ("0\x7f", 2), ("0P", 3), ("o" * 20, 14)])
    def test_broken_compressed_counts_are_shown(self, text: str, column: int) -> None:
        with pytest.raises(FormatError) as caught:
            coco.decode_counts(text)
        assert caught.value.column == column

    def test_several_outlines_are_their_union(self) -> None:
        data = json.loads(json.dumps(COCO))
        halves = [[0, 0, 120, 0, 120, 100, 0, 100], [80, 0, 200, 0, 200, 100, 80, 100]]
        data["annotations"][0]["segmentation"] = halves
        assert coco.read(data).instances[0].mask.raster(20, 10) == b"\1" * 200

    def test_one_of_several_images_must_be_chosen(self) -> None:
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
    def test_what_is_wrong_is_named(self, change: dict[str, Any], words: str) -> None:
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


class TestOmost:
    def test_every_place_lies_on_the_canvas(self) -> None:
        for location in omost.LOCATIONS:
            for offset in omost.OFFSETS:
                for area in omost.AREAS:
                    values = f"{location!r}, {offset!r}, {area!r}, 1.0, 'a thing', []"
                    assert not omost.read(f"canvas.add_local_description({values})").problems()

    def test_colours_of_conditions_are_kept(self) -> None:
        layout = omost.read(CONDITIONS)
        assert layout.instances[0].color == "#ff0010"
        assert omost.write(layout)[1]["color"] == [255, 0, 16]

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            ("canvas.add_local_description(location='on the leftt')", r"description must be a text"),
            (
                "canvas.add_local_description(location='on the leftt', description='a')",
                "did you mean 'on the left'?",
            ),
            (
                "canvas.add_local_description(location='up', description='a')",
                "'up' is not known; in the center, on",
            ),
            ("canvas.add_local_description(colour='red')", "'colour' is not known; location, offset"),
            ("canvas.add_local_description(**{'a': 1})", "None is not known"),
            (
                "canvas.add_local_description(description=open('/etc/passwd'))",
                "description must be a text, a number",
            ),
            ("canvas.add_local_description(description='a', distance_to_viewer=0)", "must be above 0, got 0"),
            ("canvas.add_local_description(*'" + "a" * 12 + "')", "must be a text, a number"),
        ],
    )
    def test_what_is_wrong_is_named(self, call: str, words: str) -> None:
        with pytest.raises(LayoutError, match=words.replace("(", r"\(").replace("?", r"\?")):
            omost.read(call)

    @pytest.mark.parametrize(
        ("code", "line", "column"),
        [
            ("canvas = Canvas()\nimport os\ncanvas.add_local_description()", 2, 1),
            ("canvas = Canvas()\nfor i in range(3):\n  canvas.add_local_description()", 2, 1),
            ("canvas = Canvas()\ncanvas.add_local_description(location=, a=1)", 2, 39),
            ("Text.\n```python\ncanvas = Canvas()\nexit() # .add_local_description\n```", 4, 1),
        ],
    )
    def test_code_that_is_no_canvas_is_shown_and_never_run(self, code: str, line: int, column: int) -> None:
        with pytest.raises(FormatError) as caught:
            formats.read(code)
        assert (caught.value.line, caught.value.column) == (line, column)


class TestIdeogram:
    def test_elements_come_back(self) -> None:
        written = ideogram.write_elements(ideogram.read(ELEMENTS))
        assert written == [ELEMENTS[0], {**ELEMENTS[1], "desc": 'a sign, the text "SALE"'}]

    def test_boxes_are_cut_to_the_grid(self) -> None:
        layout = Layout((replace(CAT, box=Box(-0.5, 0.5, 0.5, 1.5)),))
        assert ideogram.write_elements(layout)[0]["bbox"] == [500, 0, 1000, 500]


class TestLines:
    @given(plain_layouts(), st.floats(-0.5, 0.0), st.floats(1.0, 1.5))
    @fewer
    def test_boxes_over_the_edge_come_back_exactly(self, layout: Layout, low: float, high: float) -> None:
        items = tuple(replace(item, box=replace(item.box, x0=low, y1=high)) for item in layout.instances)
        read = formats.read(formats.write(replace(layout, instances=items), "lines"), "lines")
        assert [item.box for item in read.instances] == [item.box for item in items]

    def test_prompts_that_look_like_something_else_come_back(self) -> None:
        layout = replace(PAIR, prompt="0 0 1 1: canvas: 5", negative="prompt: {")
        assert formats.read(formats.write(layout, "lines")) == layout

    def test_line_breaks_in_captions_become_spaces(self) -> None:
        layout = Layout((replace(CAT, caption="a red\n\n 0 0 1 1: cat"),), CANVAS)
        assert [item.caption for item in formats.read(formats.write(layout, "lines")).instances] == [
            "a red 0 0 1 1: cat"
        ]

    @pytest.mark.parametrize(
        ("text", "line", "column", "words"),
        [
            ("0 0 1 1: a\n  0.5 0.5: b", 2, 3, "expected"),
            ("a\nb\n0 0 1 1: c", 2, 1, "expected"),
            ("canvas: big\n0 0 1 1: a", 1, 8, "a size like"),
            ("0 0 1 1: a\n0 0 12 12: b", 2, 1, "need a line"),
            ("canvas: 64 x 64\n0 0 1 1: a\n0 0 0.5 12: b", 3, 1, "beside fractions"),
        ],
    )
    def test_the_spot_that_cannot_be_read_is_shown(
        self, text: str, line: int, column: int, words: str
    ) -> None:
        with pytest.raises(FormatError, match=words) as caught:
            formats.read(text)
        assert (caught.value.line, caught.value.column) == (line, column)

    def test_numbers_a_layout_cannot_hold_are_reported(self) -> None:
        layout = formats.read("1e999% 0% 50% 50%: a")
        assert layout.problems()[0].severity == "error"


class TestLanguageModels:
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
    def test_boxes_of_every_kind_are_read(self, entry: dict[str, Any]) -> None:
        for wrapped in ([entry], {"objects": [entry]}, {"layout": {"boxes": [entry]}}, entry):
            text = json.dumps(wrapped)
            if formats.detect(text) == "bounding-boxes":
                continue
            assert formats.detect(text) == "llm"
            assert contents(formats.read(text)) == contents(Layout((CAT,)))

    def test_pairs_of_caption_and_box_are_read(self) -> None:
        text = '[["a red cat", [20, 20, 80, 40]], ["a blue vase", [80, 40, 100, 50]]]'
        layout = formats.read(text, canvas=CANVAS, order="xywh")
        assert contents(layout) == contents(PAIR)

    @pytest.mark.parametrize(
        ("units", "factor"), [("percent", 100), ("grid1000", 1000), ("fraction", 1), ("px", None)]
    )
    def test_declared_units_count(self, units: str, factor: int | None) -> None:
        factors = (factor, factor) if factor else (CANVAS.width, CANVAS.height)
        box = [value * side for value, side in zip(CAT.box, factors * 2, strict=True)]
        data = {"units": units, "box_format": "xyxy", "width": 200, "height": 100}
        text = json.dumps({**data, "boxes": [{"caption": CAT.caption, "box": box}]})
        assert contents(formats.read(text)) == contents(Layout((CAT,)))

    def test_the_only_reading_on_the_canvas_is_taken(self) -> None:
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
                {"box_format": "cxcywh", "boxes": [{"label": "a", "box": [0, 0, 1, 1]}]},
                "'cxcywh' is not known; xyxy",
            ),
            (
                {"units": "inch", "boxes": [{"label": "a", "box": [0, 0, 1, 1]}]},
                "'inch' is not known; fraction",
            ),
            ({"units": "pixel", "boxes": [{"label": "a", "box": [0, 0, 1, 1]}]}, "give the canvas size"),
        ],
    )
    def test_ambiguity_is_refused(self, data: Any, words: str) -> None:
        with pytest.raises(LayoutError, match=words):
            formats.read(json.dumps(data), "llm")

    def test_prose_and_fences_do_not_shift_the_position_of_errors(self) -> None:
        with pytest.raises(FormatError) as caught:
            formats.read('Here:\n```json\n{"objects": [\n  {"label" "a"}]}\n```\n')
        assert (caught.value.line, caught.value.column) == (4, 12)
        with pytest.raises(LayoutError, match="2 blocks of JSON"):
            formats.read("```json\n{}\n```\nor\n```\n{}\n```")


@pytest.mark.parametrize("text", ["", " \n ", "\ufeff"])
def test_empty_text_is_refused(text: str) -> None:
    with pytest.raises(LayoutError, match="the text is empty"):
        formats.detect(text)


def test_unknown_text_json_and_names_are_refused_with_what_is_known() -> None:
    for text in ("just a prompt", "{}", "[1, 2]", '{"version": 1}'):
        with pytest.raises(LayoutError, match=r"none of the known formats: layout document \(layout\)"):
            formats.detect(text)
    with pytest.raises(LayoutError, match="'psd' is not known; layout, coco"):
        formats.read("{}", "psd")
    with pytest.raises(LayoutError, match="frame has no meaning for the format lines"):
        formats.read(LINES, frame=1)
