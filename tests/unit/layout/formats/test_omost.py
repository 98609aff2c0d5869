"""Omost's canvases: what each example means, round trips, what is refused and where."""

from __future__ import annotations

from typing import Any

import pytest
from foreign_layouts import check_reading

from instance_composer.layout import Canvas, FormatError, LayoutError, formats
from instance_composer.layout.formats import omost
from instance_composer.layout.formats.notes import taken

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


@pytest.mark.parametrize(
    ("source", "canvas", "prompt", "expected"),
    [
        (
            OMOST,
            None,
            "A quiet room. Evening light.",
            # the wall is farther away; rectangles are centre ± half the area on the grid of 90
            [("a wall", (1 / 6, 0, 5 / 6, 1)), ("a vase. Blue. Porcelain.", (0, 1 / 9, 4 / 9, 2 / 3))],
        ),
        (CONDITIONS, None, "A room. Evening.", [("a vase. Blue.", (0.2, 0.1, 0.9, 0.5))]),
    ],
)
def test_an_example_is_detected_and_read(
    source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    check_reading("omost", source, canvas, prompt, expected)


def test_every_place_lies_on_the_canvas() -> None:
    for location in omost.LOCATIONS:
        for offset in omost.OFFSETS:
            for area in omost.AREAS:
                values = f"{location!r}, {offset!r}, {area!r}, 1.0, 'a thing', []"
                assert not omost.read(f"canvas.add_local_description({values})").problems()


def test_colours_of_conditions_are_kept() -> None:
    layout = omost.read(CONDITIONS)
    assert layout.instances[0].color == "#ff0010"
    assert omost.write(layout)[1]["color"] == [255, 0, 16]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("canvas.add_local_description(location='on the leftt')", r"description must be a text"),
        (
            "canvas.add_local_description(location='on the leftt', description='a')",
            'did you mean "on the left"?',
        ),
        (
            "canvas.add_local_description(location='up', description='a')",
            '"up" is not known; in the center, on',
        ),
        ("canvas.add_local_description(colour='red')", '"colour" is not known; location, offset'),
        ("canvas.add_local_description(**{'a': 1})", r'"\*\*" is not known'),
        (
            "canvas.add_local_description(description=open('/etc/passwd'))",
            "description must be a text, a number",
        ),
        ("canvas.add_local_description(description='a', distance_to_viewer=0)", "must be above 0, got 0"),
        ("canvas.add_local_description(*'" + "a" * 12 + "')", "must be a text, a number"),
    ],
)
def test_what_is_wrong_is_named(call: str, words: str) -> None:
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
def test_code_that_is_no_canvas_is_shown_and_never_run(code: str, line: int, column: int) -> None:
    with pytest.raises(FormatError) as caught:
        formats.read(code)
    assert (caught.value.line, caught.value.column) == (line, column)


def version(description: str, location: str) -> str:
    return (
        "canvas = Canvas()\n"
        f"canvas.set_global_description(description={description!r}, detailed_descriptions=[])\n"
        f"canvas.add_local_description(location={location!r}, offset='no offset', "
        "area='a small square area', distance_to_viewer=3.0, description='a boat')\n"
    )


@pytest.mark.parametrize("between", ["```\nWith your change:\n```python\n", ""])
def test_of_several_canvases_the_last_is_read_with_a_warning(between: str) -> None:
    old, new = version("A quiet harbour.", "on the left"), version("A stormy harbour.", "on the right")
    with taken() as notes:
        layout = formats.read(f"First:\n```python\n{old}{between}{new}```\n")
    assert layout.prompt == "A stormy harbour."
    assert [round(value, 2) for value in layout.instances[0].box] == [0.56, 0.22, 1.0, 0.78]
    assert [(warned.code, warned.params) for warned in notes.warnings] == [("omost_several", {"count": 2})]


@pytest.mark.parametrize("fence", ["Here is the canvas:\n```python\n", ""])
@pytest.mark.parametrize("end", ["style='photo',", "style='pho", "tags=['a', 'b"])
def test_an_answer_that_ends_early_is_said_to(fence: str, end: str) -> None:
    text = f"{fence}{version('A quiet harbour.', 'on the left')}canvas.add_local_description(\n    {end}\n"
    with pytest.raises(FormatError, match="the answer ends early") as caught:
        formats.read(text)
    assert caught.value.code == "python_cut_off"
    assert caught.value.line == text.rstrip().count("\n") + 1
