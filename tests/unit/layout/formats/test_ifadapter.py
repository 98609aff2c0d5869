"""The layouts of IFAdapter's authors: what each example means, round trips, what is refused and where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from foreign_layouts import check_reading

from instance_composer.layout import Box, Canvas, formats

IFADAPTER = {
    "caption": "two hats",
    "annotations": [{"box": [192, 96, 384, 192], "caption": ["a red hat", "felt"]}],
}


@pytest.mark.parametrize(
    ("source", "canvas", "prompt", "expected"),
    [
        (IFADAPTER, None, "two hats", [("a red hat, felt", (0.25, 0.125, 0.75, 0.375))]),
        (IFADAPTER, Canvas(960, 960), "two hats", [("a red hat, felt", (0.2, 0.1, 0.6, 0.3))]),
    ],
)
def test_an_example_is_detected_and_read(
    source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    check_reading("ifadapter", source, canvas, prompt, expected)


@pytest.mark.parametrize("key", ["class", "class_name", "category", "category_name", "title", "tag"])
def test_the_kind_of_a_thing_is_its_caption_where_it_has_none(key: str) -> None:
    (instance,) = formats.read(
        json.dumps({"annotations": [{"box": [0, 0, 384, 384], key: "a cat"}]})
    ).instances
    assert (instance.caption, instance.box) == ("a cat", Box(0, 0, 0.5, 0.5))
