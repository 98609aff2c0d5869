"""Ideogram's elements: what each example means, round trips, what is refused and where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from foreign_layouts import CAT, check_reading

from instance_composer.layout import Box, Canvas, Layout
from instance_composer.layout.formats import ideogram

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


@pytest.mark.parametrize(
    ("source", "canvas", "prompt", "expected"),
    [
        (
            IDEOGRAM,
            None,
            "a shop, a street, moody, 35mm, photograph",
            [("a red cat", (0.1, 0.2, 0.5, 0.6)), ('a sign, the text "SALE"', (0, 0, 1, 0.1))],
        ),
        (ELEMENTS[:1], None, "", [("a red cat", (0.1, 0.2, 0.5, 0.6))]),
        (ELEMENTS[0], None, "", [("a red cat", (0.1, 0.2, 0.5, 0.6))]),
    ],
)
def test_an_example_is_detected_and_read(
    source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    check_reading("ideogram", source, canvas, prompt, expected)


def test_elements_come_back() -> None:
    written = ideogram.write_elements(ideogram.read(ELEMENTS))
    assert written == [ELEMENTS[0], {**ELEMENTS[1], "desc": 'a sign, the text "SALE"'}]


def test_boxes_are_cut_to_the_grid() -> None:
    layout = Layout((replace(CAT, box=Box(-0.5, 0.5, 0.5, 1.5)),))
    assert ideogram.write_elements(layout)[0]["bbox"] == [500, 0, 1000, 500]


def test_caption_and_colour_that_were_changed_win_over_what_came_in() -> None:
    sign = {**ELEMENTS[1], "color_palette": ["#D55E00", "#112233"]}
    layout = ideogram.read([sign])
    (item,) = layout.instances
    (kept,) = ideogram.write_elements(layout)
    assert (kept["text"], kept["color_palette"]) == ("SALE", sign["color_palette"])

    def changed(**fields: Any) -> dict[str, Any]:
        return ideogram.write_elements(replace(layout, instances=(replace(item, **fields),)))[0]

    other = changed(caption='a neon sign, the text "OPEN"', color="#00ff00")
    assert (other["type"], other["text"], other["color_palette"]) == ("text", "OPEN", ["#00ff00"])
    assert changed(caption="a sign that says “SALES”")["text"] == "SALES"
    assert changed(caption="a sign that says SALE")["text"] == "SALE"
    assert "text" not in changed(caption="a bare wall")
    assert changed(caption="a bare wall")["type"] == "obj"
    assert changed(color="#d55e00")["color_palette"] == sign["color_palette"]
    assert changed(color=None)["color_palette"] == sign["color_palette"], "nothing stands against it"
