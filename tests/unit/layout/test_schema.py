"""The JSON Schema and the Python validation say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st
from layouts import fewer, json_values, layouts

from instance_composer import layout as package
from instance_composer.layout import Layout, LayoutError
from instance_composer.layout.mask import LONGEST_SIDE, MOST_POINTS
from instance_composer.layout.validation import LARGEST_CANVAS, SMALLEST_CANVAS, STRONGEST

SCHEMA = json.loads(Path(package.__file__).with_name("layout.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def python_accepts(data: Any) -> bool:
    try:
        Layout.from_dict(data).checked()
    except LayoutError:
        return False
    return True


def beyond_the_schema(data: dict[str, Any]) -> bool:
    """The rules the schema's description lists because JSON Schema cannot express them."""
    items = data["instances"]
    return (
        len({item["id"] for item in items}) == len(items)
        and all(item["box"][0] < item["box"][2] and item["box"][1] < item["box"][3] for item in items)
        and all(item.get("start", 0) < item.get("end", 1) for item in items)
        and all(_mask_covers(item.get("mask")) for item in items)
    )


def _mask_covers(mask: dict[str, Any] | None) -> bool:
    if mask is None:
        return True
    if "rle" in mask:
        (height, width), counts = mask["rle"]["size"], mask["rle"]["counts"]
        return sum(counts) == height * width and any(counts[1::2])
    (x0, *_), (x1, *_) = min(mask["polygon"]), max(mask["polygon"])
    y0, y1 = (choose(y for _, y in mask["polygon"]) for choose in (min, max))
    doubled = sum(
        xa * yb - xb * ya
        for (xa, ya), (xb, yb) in zip(mask["polygon"], mask["polygon"][1:] + mask["polygon"][:1], strict=True)
    )
    # Only plain shapes are judged here; test_document has the degenerate ones.
    return x0 < min(1, x1) and y0 < min(1, y1) and x1 > 0 and y1 > 0 and abs(doubled) > 1e-12


# A document with one field replaced by anything, or by values around the limits.
numbers = st.sampled_from(
    [-1.5, -1, -0.1, 0, 0.0, 0.3, 0.5, 1, 1.0, 1.5, 2, 2.1, 5, 5.5, 16, 15, 512.0, 512.5, 16385]
)
point_lists = st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=2, max_size=5)
run_lengths = st.fixed_dictionaries(
    {
        "size": st.lists(st.integers(0, 3), min_size=2, max_size=3),
        "counts": st.lists(st.integers(-1, 6), max_size=4),
    }
)
mask_values = st.fixed_dictionaries({"polygon": point_lists}) | st.fixed_dictionaries({"rle": run_lengths})
values = json_values | numbers | st.lists(numbers, min_size=4, max_size=4) | mask_values | st.just("#e69f00")
item_keys = st.sampled_from(
    [
        "id",
        "caption",
        "negative",
        "box",
        "mask",
        "strength",
        "start",
        "end",
        "enabled",
        "locked",
        "color",
        "note",
    ]
)


@st.composite
def near_documents(draw: st.DrawFn) -> Any:
    item = {"id": "a", "box": [0.1, 0.2, 0.6, 0.7], **draw(st.dictionaries(item_keys, values, max_size=2))}
    data = {"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [item]}
    if draw(st.booleans()):
        data["canvas"][draw(st.sampled_from(["width", "height", "note"]))] = draw(values)
    if draw(st.booleans()):
        data[draw(st.sampled_from(["version", "canvas", "prompt", "negative", "instances", "note"]))] = draw(
            values
        )
    if draw(st.integers(0, 9)) == 0:
        del data[draw(st.sampled_from(sorted(data)))]
    return data


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@fewer
@given(layouts())
def test_what_is_written_fits_the_schema(layout: Layout) -> None:
    VALIDATOR.validate(json.loads(layout.to_json()))


@given(near_documents() | json_values)
def test_both_accept_and_refuse_the_same(data: Any) -> None:
    if VALIDATOR.is_valid(data):
        assert python_accepts(data) == beyond_the_schema(data)
    else:
        assert not python_accepts(data)


def test_both_have_the_same_limits_and_defaults() -> None:
    definitions = SCHEMA["$defs"]
    side, fields = definitions["side"], definitions["instance"]["properties"]
    assert (side["minimum"], side["maximum"]) == (SMALLEST_CANVAS, LARGEST_CANVAS)
    assert definitions["side_of_mask"]["maximum"] == LONGEST_SIDE
    assert definitions["polygon"]["properties"]["polygon"]["maxItems"] == MOST_POINTS
    assert fields["strength"]["maximum"] == STRONGEST
    item = {"id": "a", "box": [0, 0, 1, 1]}
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    bare, spelled_out = (
        Layout.from_dict({"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [content]})
        for content in (item, {**item, **defaults})
    )
    assert bare == spelled_out
