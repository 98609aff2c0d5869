"""Properties of every format: round trips, detection, what is not exported."""

from __future__ import annotations

from dataclasses import replace

import pytest
from foreign_layouts import CANVAS, CAT, PAIR, VASE, check_reading, contents, same
from hypothesis import given
from layouts import fewer, plain_layouts

from instance_composer.layout import Box, Layout, LayoutError, formats

# How exactly each format keeps a box: grids by half a cell, plus one where a box falls between two lines.
TOLERANCES = {
    "layout": 0.0,
    "llm": 0.0,
    "lines": 0.0,
    "ifadapter": 1e-6,
    "coco": 1e-5,
    "ideogram": 0.0006,
    "flux3": 0.0006,
    "omost": 0.006,
}


@fewer
@given(plain_layouts())
@pytest.mark.parametrize("name", sorted(TOLERANCES))
def test_what_is_written_is_detected_and_read_back(name: str, layout: Layout) -> None:
    if name in ("lines", "flux3"):
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


def test_our_own_document_is_detected_and_read() -> None:
    check_reading("layout", PAIR.to_json(), None, PAIR.prompt, contents(PAIR))


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


@pytest.mark.parametrize("text", ["", " \n ", "\ufeff"])
def test_empty_text_is_refused(text: str) -> None:
    with pytest.raises(LayoutError, match="the text is empty"):
        formats.detect(text)


def test_unknown_text_json_and_names_are_refused_with_what_is_known() -> None:
    for text in ("just a prompt", "{}", "[1, 2]", '{"version": 1}'):
        with pytest.raises(LayoutError, match=r"none of the known formats: layout document \(layout\)"):
            formats.detect(text)
    with pytest.raises(LayoutError, match='"psd" is not known; layout, coco'):
        formats.read("{}", "psd")
    with pytest.raises(LayoutError, match="frame has no meaning for the format lines"):
        formats.read("0 0 1 1: a", frame=1)


def test_a_box_of_whole_numbers_is_written() -> None:
    """Python before 3.12 cannot ask a whole number whether it is one."""
    layout = Layout((replace(CAT, box=Box(0, 0, 1, 1)),), CANVAS)
    for name in (*formats.FORMATS, *formats.EXPORTS):
        assert formats.write(layout, name)
