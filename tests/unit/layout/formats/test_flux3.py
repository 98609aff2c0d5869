"""FLUX 3's prompts: what each example means, where instances are cited, what is refused and where."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from foreign_layouts import PAIR, check_reading

from instance_composer.layout import Box, Layout, LayoutError, formats
from instance_composer.layout.formats import flux3

ROWS = [
    {"id": "cat_1", "bbox": [200, 100, 600, 500], "desc": "a red cat"},
    {"id": "En_Text_1", "bbox": [0, 0, 100, 1000], "desc": 'a neon sign that says "SALE"'},
]
TABLE = json.dumps(ROWS)
CONTENTS = [("a red cat", (0.1, 0.2, 0.5, 0.6)), ('a neon sign that says "SALE"', (0, 0, 1, 0.1))]


@pytest.mark.parametrize(
    ("source", "prompt"),
    [
        (f"A cat <cat_1> below a sign <En_Text_1>. {TABLE}", "A cat below a sign."),
        (f'A menu of [{{"id" soups, a cat <cat_1> and a sign<En_Text_1> {TABLE}\n', None),
        (TABLE, ""),
        (ROWS, ""),
    ],
)
def test_an_example_is_detected_and_read(source: object, prompt: str | None) -> None:
    if prompt is None:
        prompt = 'A menu of [{"id" soups, a cat and a sign'
    check_reading("flux3", source, None, prompt, CONTENTS)


def test_instances_are_cited_where_the_prompt_has_them() -> None:
    layout = replace(PAIR, prompt="A red cat, not a red cathedral, beside a thing")
    text = formats.write(layout, "flux3")
    caption, table = text.split(" [", 1)
    assert caption == "A red cat <obj_1>, not a red cathedral, beside a thing <obj_2>"
    assert json.loads("[" + table)[1] == {
        "id": "obj_2",
        "bbox": [400, 400, 900, 900],
        "desc": "a blue vase",
    }
    assert formats.read(text).prompt == layout.prompt


def test_two_of_a_kind_are_cited_one_after_the_other() -> None:
    cat = PAIR.instances[0]
    twins = Layout(
        (cat, replace(cat, id="2", box=Box(0.6, 0.2, 0.9, 0.6))), PAIR.canvas, "a red cat, a red cat"
    )
    assert flux3.write(twins).startswith("a red cat <obj_1>, a red cat <obj_2> [")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just a prompt", "no table of elements"),
        ('a cat <cat_1> [{"id": "cat_1", "bbox": [1, 2, 3], "desc": "a cat"}]', "list of 4 numbers"),
        ('a cat <cat_1> [{"id": "cat_1", "bbox": [1, 2, 3, 4], "desc": 5}]', "desc must be a text"),
    ],
)
def test_what_is_refused_says_why(text: str, said: str) -> None:
    with pytest.raises(LayoutError, match=said):
        formats.read(text, "flux3")


def test_an_error_points_at_the_value_behind_the_caption() -> None:
    text = 'a cat <cat_1> [{"id": "cat_1", "bbox": [1, 2, 3], "desc": "a cat"}]'
    with pytest.raises(LayoutError) as caught:
        formats.read(text, "flux3")
    assert caught.value.position == text.index("[1, 2")
