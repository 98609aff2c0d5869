"""Formats that are written and never read: what each says, and that reading them is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from foreign_layouts import PAIR, same

from instance_composer.layout import Box, Instance, Layout, LayoutError, formats


def test_fibo_2_gets_things_and_texts_with_their_places_in_words() -> None:
    sign = Instance(
        "sign",
        Box(0.35, 0.4, 0.6, 0.55),
        'a sign, the text "SALE"',
        extra={"metadata": {"type": "text", "text": "SALE"}},
    )
    layout = replace(PAIR, instances=(*PAIR.instances, sign, replace(sign, id="off", enabled=False)))
    text = formats.write(layout, "fibo2")
    assert json.loads(text) == {
        "short_description": "a cat beside a vase",
        "objects": [
            {"description": "a red cat", "location": "left"},
            {"description": "a blue vase", "location": "center"},
            {"description": 'a sign, the text "SALE"', "location": "center"},
        ],
        "text_render": [{"text": "SALE", "location": "center"}],
    }
    assert ": " not in text.replace("sign, the", "")
    assert "boxes" in formats.lost_by(layout, "fibo2")


@pytest.mark.parametrize(
    ("box", "place"),
    [
        (Box(0, 0, 0.3, 0.3), '"top left"'),
        (Box(0.7, 0.7, 1, 1), '"bottom right"'),
        (Box(0.3, 0, 0.7, 0.2), '"top"'),
        (Box(-0.4, 0.4, 1.2, 0.6), '"center"'),
    ],
)
def test_places_go_by_thirds_of_the_picture(box: Box, place: str) -> None:
    assert f'"location":{place}' in formats.write(Layout((Instance("1", box, "a cat"),)), "fibo2")


def test_qwens_boxes_come_back_in_their_unit() -> None:
    text = formats.write(PAIR, "qwen")
    assert json.loads(text)[0] == {"bbox_2d": [100, 200, 500, 600], "label": "a red cat"}
    back = formats.read(text, "llm", canvas=PAIR.canvas, units="grid1000")
    assert same(replace(back, prompt=PAIR.prompt), PAIR, 1e-9)
    assert formats.lost_by(PAIR, "qwen") == ("prompt", "canvas")


@pytest.mark.parametrize("name", formats.EXPORTS)
def test_what_is_only_written_is_refused_in_words(name: str) -> None:
    with pytest.raises(LayoutError, match=f'"{name}" are written and not read'):
        formats.read("{}", name)
    with pytest.raises(LayoutError, match="inverted"):
        formats.write(replace(PAIR, instances=(Instance("1", Box(0.5, 0, 0.1, 1), "a"),)), name)


@pytest.mark.parametrize(
    "metadata",
    [
        {"palette": 5, "type": 3, "text": 7},
        {"palette": [1, {}], "type": None, "text": ["SALE"]},
        {"palette": "#d55e00", "type": "text", "text": {}},
        "none",
    ],
)
def test_what_another_program_keeps_under_our_key_fails_no_format(metadata: Any) -> None:
    layout = Layout((replace(PAIR.instances[0], color="#d55e00", extra={"metadata": metadata}),), PAIR.canvas)
    for name in (*formats.FORMATS, *formats.EXPORTS):
        text = formats.write(layout, name)
        if name not in formats.EXPORTS:
            (item,) = formats.read(text, name, canvas=PAIR.canvas).instances
            assert item.caption == "a red cat"
