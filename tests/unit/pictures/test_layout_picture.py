"""Layouts over pictures: colours, stacking, masks, captions of every kind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import fewer, layouts, texts
from PIL import Image, ImageChops, ImageColor

from instance_composer.layout import (
    Box,
    Canvas,
    Instance,
    Layout,
    LayoutError,
    Polygon,
)
from instance_composer.pictures import (
    PALETTE,
    draw_layout,
    instance_color,
    side_by_side,
)
from instance_composer.pictures import labels as labels_module
from instance_composer.pictures.captions import drawable, font_for, wrap
from instance_composer.pictures.labels import Label, Rectangle, _placed, _places, _set
from instance_composer.pictures.layout_picture import _labels, _region

SIZE = (128, 96)
BACK = Instance("back", Box(0.0, 0.0, 0.75, 1.0), "a wall")
FRONT = Instance("front", Box(0.5, 0.25, 1.0, 1.0), "a vase")
GREY = Image.new("RGB", SIZE, (120, 120, 120))


def color(item_index: int) -> tuple[int, ...]:
    return ImageColor.getrgb(PALETTE[item_index])


def count(picture: Image.Image, pixel: tuple[int, ...]) -> int:
    return sum(number for number, found in picture.getcolors(1 << 24) if found == pixel)


def blended(item_index: int, opacity: float) -> tuple[int, ...]:
    return Image.blend(
        Image.new("RGB", (1, 1), (120, 120, 120)), Image.new("RGB", (1, 1), color(item_index)), opacity
    ).getpixel((0, 0))


def test_a_region_in_front_covers_the_one_behind() -> None:
    picture = draw_layout(Layout((BACK, FRONT)), background=GREY, opacity=0.5)
    assert picture.size == SIZE
    assert picture.mode == "RGB"
    assert picture.getpixel((30, 70)) == blended(0, 0.5)
    assert picture.getpixel((80, 80)) == blended(1, 0.5)  # in both boxes
    assert picture.getpixel((110, 80)) == blended(1, 0.5)
    assert picture.getpixel((110, 10)) == (120, 120, 120)
    swapped = draw_layout(Layout((FRONT, BACK)), background=GREY, opacity=0.5)
    assert swapped.getpixel((80, 80)) == blended(1, 0.5)  # the wall, second now


def test_what_is_hidden_of_an_outline_stays_as_dashes() -> None:
    picture = draw_layout(Layout((BACK, FRONT)), background=GREY, opacity=0.5)
    column = [picture.getpixel((95, y)) for y in range(60, 92)]  # the wall's right edge, behind the vase
    assert color(0) in column
    assert blended(1, 0.5) in column
    in_sight = [picture.getpixel((1, y)) for y in range(40, 80)]
    assert set(in_sight) == {color(0)}


def test_a_mask_is_drawn_as_its_shape() -> None:
    triangle = Polygon(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    layout = Layout((replace(BACK, box=Box(0.0, 0.0, 1.0, 1.0), mask=triangle),))
    picture = draw_layout(layout, background=GREY, opacity=0.5)
    assert picture.getpixel((20, 50)) == blended(0, 0.5)
    assert picture.getpixel((110, 80)) == (120, 120, 120)
    diagonal = {picture.getpixel((64 + shift, 48)) for shift in range(-4, 3)}
    assert color(0) in diagonal


@pytest.mark.parametrize("change", [{"enabled": False}, {"caption": " "}])
def test_what_takes_no_part_is_not_filled(change: dict[str, object]) -> None:
    picture = draw_layout(Layout((replace(BACK, **change),)), background=GREY, opacity=1.0)
    assert picture.getpixel((30, 80)) == (120, 120, 120)
    edge = [picture.getpixel((1, y)) for y in range(40, 90)]
    assert color(0) in edge
    assert (120, 120, 120) in edge


def test_an_opacity_of_zero_leaves_the_picture_inside_the_outlines() -> None:
    picture = draw_layout(Layout((BACK,)), background=GREY, opacity=0.0)
    assert picture.getpixel((30, 80)) == (120, 120, 120)
    with pytest.raises(ValueError, match="opacity is 2; 0 to 1 is allowed"):
        draw_layout(Layout((BACK,)), opacity=2.0)


def test_the_background_is_left_alone() -> None:
    background = GREY.copy()
    draw_layout(Layout((BACK,)), background=background)
    assert background.tobytes() == GREY.tobytes()


def test_the_size_follows_the_argument_the_background_or_the_canvas() -> None:
    layout = Layout((BACK,), Canvas(2048, 1024))
    assert draw_layout(layout).size == (1024, 512)
    assert draw_layout(Layout((BACK,), Canvas(64, 96))).size == (64, 96)
    assert draw_layout(layout, background=GREY).size == SIZE
    assert draw_layout(layout, (50, 40), GREY).size == (50, 40)
    with pytest.raises(ValueError, match="0 × 5 pixels"):
        draw_layout(layout, (0, 5))


def test_own_colours_win_and_others_differ() -> None:
    items = tuple(replace(BACK, id=str(number)) for number in range(len(PALETTE)))
    assert len({instance_color(Layout(items), index) for index in range(len(items))}) == len(PALETTE)
    assert instance_color(Layout((replace(BACK, color="#123456"),)), 0) == "#123456"


def test_layouts_with_errors_are_refused() -> None:
    with pytest.raises(LayoutError, match='"back"'):
        draw_layout(Layout((replace(BACK, strength=9.0),)))


@fewer
@given(layouts(), st.integers(1, 60), st.integers(1, 60))
def test_any_usable_layout_is_drawn_at_any_size(layout: Layout, width: int, height: int) -> None:
    assert draw_layout(layout, (width, height)).size == (width, height)


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_captions_are_there_and_legible(side: int) -> None:
    """A caption changes pixels on a plate that is at least ten pixels high and stays inside its region."""
    with_text, without = (
        draw_layout(Layout((replace(BACK, caption=caption),)), (side, side))
        for caption in ("a red wall", ".")
    )
    left, top, right, bottom = ImageChops.difference(with_text, without).getbbox() or (0, 0, 0, 0)
    assert bottom - top >= 10
    assert right - left >= 30
    assert right <= 0.75 * side


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (("2", "3"), ["2", "3"]),
        (("wall", "a, b"), ["wall", "2"]),
        (("a name of many letters", "3"), ["1", "3"]),
        (("a name of many letters", "1"), ["a name of m…", "1"]),
        ((" ", "1"), ["", "1"]),
    ],
)
def test_plates_show_what_can_be_typed_for_an_instance(ids: tuple[str, str], names: list[str]) -> None:
    layout = Layout((replace(BACK, id=ids[0]), replace(FRONT, id=ids[1])))
    regions = [_region(layout, index, SIZE) for index in (0, 1)]
    assert [label.name for label in _labels(layout, regions, SIZE)] == names
    assert draw_layout(layout).size == (1024, 1024)


@fewer
@given(layouts())
def test_labels_stay_on_the_picture_unless_they_are_larger(layout: Layout) -> None:
    for number, item in enumerate(layout.instances):
        label = Label(str(number), drawable(item.caption) or "-", (0, 0, 0), (0, 0, 5, 5), False)
        plate = _set(label, (512, 512))
        assert all(min(x0, y0) >= 0 and max(x1, y1) <= 512 for x0, y0, x1, y1 in _places(plate, (512, 512)))


def test_labels_of_one_place_do_not_cover_each_other() -> None:
    items = tuple(replace(BACK, id=str(number), caption=f"thing {number}") for number in range(3))
    picture = draw_layout(Layout(items), (512, 512))
    # A badge is a surface in the pure colour, where a hidden outline has but dashes.
    assert all(count(picture, color(index)) > 150 for index in range(3))


@given(texts)
def test_any_text_can_be_drawn_in_lines_that_fit(text: str) -> None:
    shown = drawable(text)
    assert shown.isprintable()
    font = font_for(shown, 13)
    lines = wrap(shown, font, 80, 3)
    assert len(lines) <= 3
    assert all(font.getlength(line) <= 80 or len(line) == 1 for line in lines)
    if not any(line.endswith("…") for line in lines):
        assert "".join(lines).replace(" ", "") == shown.replace(" ", "")


def test_words_are_broken_at_spaces_and_cut_with_an_ellipsis() -> None:
    font = font_for("a", 13)
    lines = wrap("a very long caption that cannot be shown in two short lines", font, 100, 2)
    assert lines[0] == "a very long"
    assert lines[1].endswith("…")


def test_pictures_stand_side_by_side_at_one_height() -> None:
    row = side_by_side([GREY, GREY.resize((64, 48)), GREY.resize((96, 192))], ["one", "two", "三 \x00"])
    red = Image.new("RGB", (40, 40), (255, 0, 0))
    assert row.height > 192
    assert row.width > 256 + 256 + 96
    both = side_by_side([red, red], ["a", "b"])
    assert count(both, (255, 0, 0)) == 2 * 40 * 40
    for images, labels in (([], []), ([red], ["a", "b"])):
        with pytest.raises(ValueError, match="one label for each"):
            side_by_side(images, labels)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), texts), min_size=1, max_size=3))
def test_any_pictures_and_labels_are_put_side_by_side(parts: list[tuple[int, int, str]]) -> None:
    images = [Image.new("L", (width, height)) for width, height, _ in parts]
    assert side_by_side(images, [text for *_, text in parts]).mode == "RGB"


def _grid_of_labels(columns: int, rows: int, side: int) -> list[Label]:
    """Regions side by side, each large enough for its label."""
    wide, high = side // columns, side // rows
    return [
        Label(
            str(column),
            "a",
            (0, 0, 0),
            (column * wide, row * high, (column + 1) * wide, (row + 1) * high),
            False,
        )
        for row in range(rows)
        for column in range(columns)
    ]


def test_many_labels_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(one: Rectangle, other: Rectangle) -> int:
        nonlocal compared
        compared += 1
        return overlap(one, other)

    overlap = labels_module._overlap
    monkeypatch.setattr(labels_module, "_overlap", counted)
    for columns in (8, 16, 32):
        labels = _grid_of_labels(columns, 32, 2048)
        compared = 0
        places = [place for _, place in _placed(labels, (2048, 2048))]
        assert compared <= 7 * 2 * 200 * len(labels)
        assert len(places) == len(labels)
        assert len({place[:2] for place in places}) == len(labels)
    assert compared == 0


def test_labels_in_any_number_choose_alike_where_nothing_is_covered_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = _grid_of_labels(4, 4, 512)
    # Two more of one region, which must go elsewhere.
    labels += labels[5:6] * 2
    few = _placed(labels, (512, 512))
    monkeypatch.setattr(labels_module, "_MOST_COMPARED", 0)
    many = _placed(labels, (512, 512))
    assert [place for _, place in many] == [place for _, place in few]
    assert all(not labels_module._overlap(few[0][1], place) for _, place in few[1:])
