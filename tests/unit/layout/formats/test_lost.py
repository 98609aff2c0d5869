"""Writing: what a format keeps comes back, what it does not is named, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from foreign_layouts import CANVAS, CAT, PAIR, VASE
from hypothesis import given
from layouts import fewer, layouts

from instance_composer.layout import Box, Instance, Layout, Polygon, RunLength, formats
from instance_composer.layout.formats.lost import KEPT, WORDS
from instance_composer.layout.formats.shared import exported

# For each name: the value that is lost where it comes back another.
PARTS: dict[str, Callable[[Layout, list[Instance]], object]] = {
    "prompt": lambda layout, items: " ".join(layout.prompt.split()),
    "negative": lambda layout, items: " ".join(layout.negative.split()),
    "ids": lambda layout, items: [item.id for item in items],
    "disabled": lambda layout, items: len(layout.instances),
    "negatives": lambda layout, items: [item.negative for item in items],
    "masks": lambda layout, items: [masked(item) for item in items],
    "strengths": lambda layout, items: [item.strength for item in items],
    "ranges": lambda layout, items: [(item.start, item.end) for item in items],
    "colors": lambda layout, items: [item.color for item in items],
    "locks": lambda layout, items: [item.locked for item in items],
    "extras": lambda layout, items: (dict(layout.extra), [dict(item.extra) for item in items]),
}


def masked(item: Instance) -> object:
    """The mask in pixels of a canvas of four million, which is what COCO's four decimals keep."""
    if isinstance(item.mask, Polygon):
        return [round(value, 6) for point in item.mask.points for value in point]
    return item.mask


def written_and_read(layout: Layout, name: str) -> Layout:
    text = formats.write(layout, name)
    return formats.read(text, name, canvas=None if name == "ifadapter" else layout.canvas)


@fewer
@given(layouts())
@pytest.mark.parametrize("name", formats.FORMATS)
def test_what_is_kept_comes_back_and_what_is_not_is_named(name: str, layout: Layout) -> None:
    read = written_and_read(layout, name)
    missed = set(formats.lost_by(layout, name))
    written, back = exported(layout), exported(read)
    for part, value in PARTS.items():
        came_back = value(layout, written) == value(read, back)
        if part == "masks" and name == "coco" and not came_back:
            continue  # COCO's pixels are rounded to four decimals
        assert came_back == (part not in missed), part
    same = all(
        tuple(one.bounds) == pytest.approx(tuple(other.bounds), abs=1e-5)
        for one, other in zip(written, back, strict=True)
    )
    assert same or missed & {"rounding", "shape_pixels"}


def test_every_name_is_told_of_once() -> None:
    mask = RunLength((1, 301), (1, 299, 1))
    item = Instance(
        "cat",
        Box(0.123, 0.2, 0.5, 0.6),
        " a\ncat",
        "dogs",
        mask,
        2.0,
        0.1,
        0.5,
        True,
        True,
        "#808080",
        {"a": 1},
    )
    layout = Layout((item, replace(VASE, enabled=False)), CANVAS, "a room", "blur")
    assert set(formats.lost_by(layout, "lines")) == set(WORDS) - {
        "prompt",
        "negative",
        "canvas",
        "rounding",
        "shape_pixels",
        "boxes",
    }
    written = (*formats.FORMATS, *formats.EXPORTS)
    assert {name for known in written for name in formats.lost_by(layout, known)} == set(WORDS)
    assert formats.lost_in_words(PAIR, "omost") == "omost does not keep the canvas size"
    assert formats.lost_in_words(layout, "layout") == ""
    assert set(KEPT) == set(written)


@pytest.mark.parametrize(
    ("width", "height", "told"), [(200, 100, False), (50, 25, False), (201, 100, True), (400, 200, True)]
)
def test_painted_shapes_are_told_where_their_pixels_are_not_kept(width: int, height: int, told: bool) -> None:
    """The canvas has 200 × 100: of whole blocks of its pixels all is kept, and boxes always are exact."""
    mask = RunLength.from_raster((b"\0" + b"\1" * (width - 1)) * height, width, height)
    layout = Layout((replace(CAT, box=mask.bounds, mask=mask),), CANVAS)
    missed = formats.lost_by(layout, "coco")
    assert ("shape_pixels" in missed) == told
    assert "rounding" not in missed
    if not told:
        read = written_and_read(layout, "coco").instances[0]
        assert read.bounds == mask.bounds
        assert read.mask is not None
        assert read.mask.raster(200, 100) == mask.raster(200, 100)


@pytest.mark.parametrize("name", formats.FORMATS)
def test_an_empty_layout_is_recognised_and_read_again(name: str) -> None:
    layout = Layout((), CANVAS, "a room")
    text = formats.write(layout, name)
    assert formats.detect(text) == name
    assert written_and_read(layout, name).instances == ()


def test_omost_gives_nobody_a_grey() -> None:
    read = written_and_read(Layout((CAT, replace(VASE, color="#123456")), CANVAS), "omost")
    assert [item.color for item in read.instances] == [None, "#123456"]


def test_a_palette_longer_than_a_format_has_room_for_is_told() -> None:
    colors = [f"#00000{number}" for number in range(6)]
    for count, told in ((5, False), (6, True)):
        extra = {"metadata": {"type": "obj", "palette": colors[:count]}}
        layout = Layout((replace(CAT, extra=extra),), CANVAS)
        (element,) = formats.ideogram.write_elements(layout)
        assert element["color_palette"] == colors[:5]
        assert ("colors" in formats.lost_by(layout, "ideogram")) == told
        assert "colors" not in formats.lost_by(layout, "bounding-boxes")
