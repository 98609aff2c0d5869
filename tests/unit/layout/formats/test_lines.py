"""Plain lines: what each example means, round trips, what is refused and where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from foreign_layouts import CANVAS, CAT, PAIR, VASE, check_reading
from hypothesis import given
from hypothesis import strategies as st
from layouts import fewer, plain_layouts

from instance_composer.layout import Canvas, FormatError, Layout, formats

LINES = """a cat beside a vase
negative: blurry

0.1 0.2 0.5 0.6: a red cat
[40%, 40%, 90%, 90%]: a vase: blue
"""


@pytest.mark.parametrize(
    ("source", "canvas", "prompt", "expected"),
    [
        (LINES, None, PAIR.prompt, [("a red cat", CAT.box), ("a vase: blue", VASE.box)]),
        ("canvas: 200 x 100\n20 20 100 60: a red cat", None, "", [("a red cat", CAT.box)]),
        ("20,20,100,60: a red cat", CANVAS, "", [("a red cat", CAT.box)]),
    ],
)
def test_an_example_is_detected_and_read(
    source: Any, canvas: Canvas | None, prompt: str, expected: list[tuple[str, tuple[float, ...]]]
) -> None:
    check_reading("lines", source, canvas, prompt, expected)


@given(plain_layouts(), st.floats(-0.5, 0.0), st.floats(1.0, 1.5))
@fewer
def test_boxes_over_the_edge_come_back_exactly(layout: Layout, low: float, high: float) -> None:
    items = tuple(replace(item, box=replace(item.box, x0=low, y1=high)) for item in layout.instances)
    read = formats.read(formats.write(replace(layout, instances=items), "lines"), "lines")
    assert [item.box for item in read.instances] == [item.box for item in items]


def test_prompts_that_look_like_something_else_come_back() -> None:
    layout = replace(PAIR, prompt="0 0 1 1: canvas: 5", negative="prompt: {")
    assert formats.read(formats.write(layout, "lines")) == layout


def test_line_breaks_in_captions_become_spaces() -> None:
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
        ("a room\nPrompt: a garden\n0 0 1 1: a", 2, 1, '"prompt" is told a second time'),
        ("prompt:\nprompt: a garden\n0 0 1 1: a", 2, 1, '"prompt" is told a second time'),
        ("0 0 1 1: a\nnegative: b\n\n negative: c", 4, 2, '"negative" is told a second time'),
        ("canvas: 64 x 64\ncanvas: 32 x 32\n0 0 8 8: a", 2, 1, '"canvas" is told a second time'),
    ],
)
def test_the_spot_that_cannot_be_read_is_shown(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        formats.read(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize("text", ["1e999% 0% 50% 50%: a", "canvas: 9 x 9\n1 2 3 1e999: a", "-1e999 0 1 1: a"])
def test_numbers_a_layout_cannot_hold_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"the number .* is too large"):
        formats.read(text, canvas=Canvas(64, 64))


@pytest.mark.parametrize(
    "line",
    [
        "0.1 0.2 0.5 0.6：a red cat",
        "- 0.1 0.2 0.5 0.6: a red cat",
        "1. 0.1 0.2 0.5 0.6: a red cat",
        "2) [0.1, 0.2, 0.5, 0.6]: a red cat",
        "0.1\u00a00.2\u30000.5\u200b0.6: a red cat",
        "０．１，０．２，０．５，０．６：a red cat",
        "• 10% 20% 50% 60%: a red cat",
    ],
)
def test_marks_of_lists_and_other_scripts_blanks_and_signs_are_read(line: str) -> None:
    check_reading("lines", line, None, "", [("a red cat", CAT.box)])
    check_reading("lines", f"0.4 0.4 0.9 0.9: b\n{line}", None, "", [("b", VASE.box), ("a red cat", CAT.box)])


@pytest.mark.parametrize("end", ["\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_every_end_of_a_line_ends_one(end: str) -> None:
    layout = formats.read(LINES.replace("\n", end))
    assert (layout.prompt, layout.negative) == (PAIR.prompt, "blurry")
    assert [item.caption for item in layout.instances] == ["a red cat", "a vase: blue"]
    written = formats.write(replace(PAIR, prompt=f"a cat{end}beside a vase"), "lines")
    assert formats.read(written) == PAIR
    with pytest.raises(FormatError) as caught:
        formats.read(f"a room{end}0.1 0.2 0.5 0.6: a red cat{end}?")
    assert caught.value.position == len(f"a room{end}0.1 0.2 0.5 0.6: a red cat{end}")


@pytest.mark.parametrize(
    "line", ["0.05 0.40 0.45: a cat", "- 1 2: a", "[0.1, 0.2, 0.3]", "0.1 0.2 0.5 0.6 a cat", "1 2 3 4 5: a"]
)
def test_a_first_line_that_is_a_broken_box_is_no_prompt(line: str) -> None:
    with pytest.raises(FormatError, match="expected") as caught:
        formats.read(f"{line}\n0.1 0.2 0.5 0.6: a red cat")
    assert caught.value.line == 1


@pytest.mark.parametrize("line", ["3 cats on a mat", "2: the sequel", "1990, 1991 and on", "a cat: 1 2 3 4"])
def test_a_prompt_may_begin_with_a_number(line: str) -> None:
    assert formats.read(f"{line}\n0.1 0.2 0.5 0.6: a red cat").prompt == line
