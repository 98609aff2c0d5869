"""Whatever text comes, a format is named or a LayoutError raised; nothing else, and not slowly."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import json_values, texts

from instance_composer.layout import (
    Box,
    Canvas,
    Instance,
    Layout,
    LayoutError,
    formats,
)

KEYS = [
    *("version", "canvas", "instances", "annotations", "images", "categories", "caption", "box", "bbox"),
    *("prefixes", "suffixes", "type", "desc", "text", "palette", "metadata", "x", "y", "width", "height"),
    *("compositional_deconstruction", "elements", "objects", "segmentation", "counts", "size", "color"),
    *("rect", "units", "order", "label", "category_id", "id", "image_id", "name"),
    *("boxes", "labels", "predictions", "class", "phrases", "logits", "mapping", "prompt", "data", "result"),
    *("value", "points", "regions", "filename", "shape_attributes", "file", "view", "attribute", "xy", "av"),
    *("shapes", "annos", "mask", "bboxes", "point_2d", "bbox_2d", "all_points_x", "all_points_y", "id2label"),
]
words = st.sampled_from(["obj", "text", "xyxy", "pixel"])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts | words
# JSON made of the words the readers look for.
near_formats = st.recursive(
    leaves | st.lists(st.integers(-5, 2000), min_size=4, max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)
calls = st.builds(
    "canvas.{}({})".format,
    st.sampled_from(["add_local_description", "set_global_description"]),
    st.text(st.sampled_from("abdeilnorst=',()[]{}*+-0123456789.\n \\\"#lambda:"), max_size=40),
)
line_like = st.text(st.sampled_from("0123456789.%-+eE ,:[]()canvsxprompt\n\t"), max_size=60)
row_like = st.lists(
    st.sampled_from(["0 ", "0.5 ", "0.5, ", "0:1, ", "[", "]", "\n", "names:", "- a", "1: b", "left: 5px; "])
    | st.sampled_from(["a {", "}", "width: 5%;", "top:", "height: 1e9px", "<loc_5>", "\r", "9" * 20, "#"]),
    max_size=30,
).map("".join)


def survives(text: str | bytes) -> None:
    for name in (None, *formats.FORMATS, *formats.READERS):
        try:
            layout = formats.read(text, name, canvas=Canvas(64, 64))
            layout.problems()
            layout.to_json()
        except LayoutError:
            continue


@given(st.binary(max_size=200))
def test_bytes(data: bytes) -> None:
    survives(data)


@given(texts | calls | line_like | row_like | st.text(max_size=200))
def test_text(text: str) -> None:
    survives(text)


@given(near_formats | json_values)
def test_json(data: object) -> None:
    survives(json.dumps(data))
    for entry in (*formats.FORMATS.values(), *formats.READERS.values()):
        try:
            entry.read(data, canvas=Canvas(64, 64)).problems()
        except LayoutError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "(" * 100_000 + ".add_local_description(",
        "-" * 100_000 + "x.add_local_description()",
        "x" + ".x" * 90_000 + ".add_local_description()",
        "canvas.add_local_description(" + "[" * 90 + "]" * 90 + ")",
        "x.add_local_description(\0)",
        "x.add_local_description(" + "9" * 100_000 + ")",
        "9" * 1_000_000 + " 1 1 1: a",
        "0 " * 500_000 + ": a",
        "```\n" * 100_000,
        "`" * 500_000 + "{",
        '[{"box": [' + "9" * 5000 + ', 0, 1, 1], "caption": "a"}]',
        '[{"box": [1e400, 0, 1, 1], "caption": "a"}]',
        "0.1 0.1 0.5 0.5: a\n" * 5_000,
        " " * 1_000_000 + "{" + " " * 1_000_000,
        "canvas:" + " " * 500_000 + "x",
        "names:\n- a" + " " * 500_000 + "b\n0 0.5 0.5 0.1 0.1" + " " * 500_000 + "x",
        "0.0:1.0, 0.0" + "\t" * 500_000 + ":1.0, 1]" + " " * 500_000 + "x\na",
        "a {" + "left: 1px; " * 100_000 + "\n{" * 100_000,
        "a {left" + " " * 500_000 + "}",
    ],
    ids=lambda text: text[:20],
)
def test_hostile_sizes_are_answered_quickly(text: str) -> None:
    start = time.process_time()
    survives(text)
    assert time.process_time() - start < 0.4 * len({**formats.FORMATS, **formats.READERS})


def test_markup_in_captions_stays_text_in_every_format() -> None:
    caption = '<script>alert("1")</script> &amp; ```json [0 0 1 1: a] \\n'
    layout = Layout((Instance("1", Box(0.125, 0.25, 0.5, 0.75), caption),), Canvas(64, 64), caption)
    for name in formats.FORMATS:
        text = formats.write(layout, name)
        assert formats.detect(text) == name
        assert formats.read(text, canvas=layout.canvas).instances[0].caption == caption


@pytest.mark.parametrize("rect", [1, 1.5, True, "0", {"a": 1}])
def test_an_omost_rectangle_that_is_no_list_is_refused_in_words(rect: object) -> None:
    with pytest.raises(LayoutError, match="rect must be a list of 4 numbers"):
        formats.read(json.dumps([{"rect": rect, "prefixes": [], "suffixes": []}]), "omost")
