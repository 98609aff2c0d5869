"""The document: round trips, what is refused, what is warned about."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from layouts import fewer, layouts, texts

from instance_composer.layout import (
    Box,
    Canvas,
    FormatError,
    Instance,
    Layout,
    LayoutError,
    Polygon,
    RunLength,
)

CAT = Instance("cat", Box(0.1, 0.1, 0.5, 0.9), "a red cat")


def document(**changes: object) -> dict[str, object]:
    item = {"id": "cat", "box": [0.1, 0.1, 0.5, 0.9], "caption": "a red cat"}
    return {"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [{**item, **changes}]}


def found(item: Instance, severity: str) -> list[str]:
    """The fields of the problems of that severity, with a second, faultless instance beside."""
    other = Instance("other", Box(0.5, 0.5, 1.0, 1.0), "a blue vase")
    problems = Layout((item, other)).problems()
    assert all(problem.instance == item.id and json.dumps(item.id) in str(problem) for problem in problems)
    return [problem.field for problem in problems if problem.severity == severity]


@fewer
@given(layouts())
def test_reading_what_was_written_gives_the_same(layout: Layout) -> None:
    assert layout.checked() is layout
    text = layout.to_json()
    assert Layout.from_json(text) == layout
    assert Layout.from_json(text.encode()) == layout
    assert json.loads(text) == layout.to_dict()
    assert Layout.from_dict(layout.to_dict()) == layout


def test_fields_at_their_default_are_left_out() -> None:
    assert Layout((CAT,), Canvas(64, 32)).to_dict() == {
        "version": 1,
        "canvas": {"width": 64, "height": 32},
        "instances": [{"id": "cat", "box": [0.1, 0.1, 0.5, 0.9], "caption": "a red cat"}],
    }
    assert Layout((replace(CAT, strength=0.5),)).to_dict()["instances"][0]["strength"] == 0.5


def test_other_programs_keys_survive_at_every_level() -> None:
    data = document(note={"by": ["me"]})
    data["tool"] = 7
    data["canvas"]["dpi"] = 300
    assert json.loads(Layout.from_dict(data).to_json()) == data


def test_the_stacking_order_is_the_order_of_the_list() -> None:
    layout = Layout(tuple(replace(CAT, id=name) for name in "bca"))
    assert [item.id for item in Layout.from_json(layout.to_json()).instances] == ["b", "c", "a"]


def test_active_instances_are_enabled_and_have_a_caption() -> None:
    off, blank = replace(CAT, id="off", enabled=False), replace(CAT, id="blank", caption=" \n\t")
    assert Layout((off, CAT, blank)).active == (CAT,)


def test_a_layout_can_be_a_dictionary_key() -> None:
    one, same = Layout.from_dict(document(note=1)), Layout.from_dict(document(note=1))
    assert {one: "seen"}[same] == "seen"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"box": Box(0.1, 0.1, math.nan, 0.9)}, "box"),
        ({"box": Box(0.1, 0.1, math.inf, 0.9)}, "box"),
        ({"box": Box(0.5, 0.1, 0.1, 0.9)}, "box"),
        ({"box": Box(0.1, 0.9, 0.5, 0.1)}, "box"),
        ({"box": Box(0.1, 0.1, 0.1, 0.9)}, "box"),
        ({"box": Box(1.1, 0.1, 1.5, 0.9)}, "box"),
        ({"box": Box(-0.5, 0.1, 0.0, 0.9)}, "box"),
        ({"box": Box(0, 0, 512, 512)}, "box"),
        ({"strength": -0.1}, "strength"),
        ({"strength": 5.1}, "strength"),
        ({"strength": math.nan}, "strength"),
        ({"start": -0.1}, "start"),
        ({"end": 1.1}, "end"),
        ({"start": 0.5, "end": 0.5}, "start"),
        ({"start": 0.7, "end": 0.5}, "start"),
        ({"color": "red"}, "color"),
        ({"color": "#12345"}, "color"),
        ({"mask": Polygon(((0, 0), (1, 1)))}, "mask"),
        ({"mask": Polygon(((0, 0), (1, 1), (0.5, 0.5)))}, "mask"),
        ({"mask": Polygon(((0, 0), (512, 0), (0, 512)))}, "mask"),
        ({"mask": Polygon(((0, 0), (math.nan, 0), (0, 1)))}, "mask"),
        ({"mask": RunLength((2, 2), (4,))}, "mask"),
        ({"mask": RunLength((2, 2), (1, 2))}, "mask"),
        ({"mask": RunLength((2, 2), (-1, 5))}, "mask"),
        ({"mask": RunLength((0, 2), ())}, "mask"),
    ],
)
def test_what_cannot_be_used_is_an_error(change: dict[str, object], field: str) -> None:
    item = replace(CAT, **change)
    assert found(item, "error") == [field]
    with pytest.raises(LayoutError, match=r'"cat" \("a red cat"\)') as caught:
        Layout((item,)).checked()
    assert [problem.field for problem in caught.value.problems] == [field]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"caption": ""}, "caption"),
        ({"caption": " \n"}, "caption"),
        ({"box": Box(-0.1, 0.1, 0.5, 0.9)}, "box"),
        ({"box": Box(0.1, 0.1, 0.19, 0.2)}, "box"),
        ({"mask": Polygon(((0.6, 0.1), (0.9, 0.1), (0.9, 0.9)))}, "mask"),
    ],
)
def test_what_can_be_used_but_will_surprise_is_a_warning(change: dict[str, object], field: str) -> None:
    item = replace(CAT, **change)
    assert found(item, "warning") == [field]
    assert Layout((item,)).checked()


def test_a_box_of_one_percent_is_not_tiny() -> None:
    assert found(replace(CAT, box=Box(0.1, 0.1, 0.2, 0.2)), "warning") == []


def test_the_layout_itself_is_judged_too() -> None:
    assert [problem.field for problem in Layout().problems()] == ["instances"]
    many = Layout(tuple(replace(CAT, id=str(number)) for number in range(11)))
    assert [(problem.severity, problem.value) for problem in many.problems()] == [("warning", 11)]
    assert not Layout(many.instances[:10]).problems()
    twins = Layout((CAT, CAT))
    assert [(problem.severity, problem.field) for problem in twins.problems()] == [("error", "id")]
    for size in (15, 16385):
        assert Layout((CAT,), Canvas(size, 64)).problems()[0].severity == "error"


def test_a_hundred_instances_are_read() -> None:
    layout = Layout(tuple(replace(CAT, id=str(number)) for number in range(100)))
    assert len(Layout.from_json(layout.to_json()).checked().active) == 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"box": [0, 0, 1]}, r'"cat" \("a red cat"\), box: has 3 numbers, got \[0, 0, 1\]; four numbers'),
        ({"box": [0, 0, 1, "1"]}, "box: is not a number"),
        ({"box": None}, "box: is not a list"),
        ({"id": 3}, "id: is not a text, got 3"),
        ({"caption": None}, "caption: is not a text"),
        ({"strength": True}, "strength: is not a number"),
        ({"strength": 10**400}, "strength: .*too large"),
        ({"enabled": 1}, "enabled: is neither true nor false"),
        ({"mask": {"polygon": [[0, 0], [1], [1, 1]]}}, "mask: has a point of 1 numbers"),
        ({"mask": {"rle": {"size": [2, 2], "counts": [1e308]}}}, "mask: is too large a whole number"),
        ({"mask": {"rle": {"size": [2, 2]}}}, "mask: has no run-length"),
        ({"mask": {"ellipse": []}}, 'mask: is of an unknown kind "ellipse"'),
        ({"mask": {"polygon": [], "rle": {}}}, "mask: is not one polygon"),
    ],
)
def test_wrong_types_name_instance_field_value_and_what_is_needed(
    change: dict[str, object], words: str
) -> None:
    with pytest.raises(LayoutError, match=words):
        Layout.from_dict(document(**change))


def test_every_wrong_field_is_told_at_once() -> None:
    data = document(id=3, box="left", locked="no")
    data["prompt"] = None
    with pytest.raises(LayoutError) as caught:
        Layout.from_dict(data)
    assert [problem.field for problem in caught.value.problems] == ["prompt", "id", "box", "locked"]


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_another_version_is_refused(version: object) -> None:
    with pytest.raises(LayoutError, match="another version"):
        Layout.from_dict({**document(), "version": version})


def test_a_document_without_version_or_canvas_is_refused() -> None:
    for key in ("version", "canvas", "instances"):
        data = document()
        del data[key]
        with pytest.raises(LayoutError, match=f"{key}: is missing"):
            Layout.from_dict(data)


def test_malformed_json_is_shown_with_line_and_column() -> None:
    text = '{"version": 1,\n "canvas": {"width": 64,, "height": 64}}'
    with pytest.raises(FormatError) as caught:
        Layout.from_json(text)
    error = caught.value
    assert (error.line, error.column) == (2, 25)
    excerpt, caret = str(error).splitlines()[-2:]
    assert excerpt[caret.index("^")] == ","


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400])
def test_numbers_a_layout_cannot_hold_are_refused(literal: str) -> None:
    text = json.dumps(document()).replace("0.5", literal)
    with pytest.raises(LayoutError, match="number"):
        Layout.from_json(text)


@pytest.mark.parametrize("depth", [70, 5_000, 1_000_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = json.dumps(document())[:-1] + ', "deep": ' + opening * depth + "1" + closing * depth + "}"
        with pytest.raises(LayoutError, match="nested too deep"):
            Layout.from_json(text)


def test_more_than_ten_megabytes_are_refused() -> None:
    with pytest.raises(LayoutError, match="at most 10,000,000"):
        Layout.from_json(json.dumps(document(caption="x" * 10_000_000)))


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(LayoutError, match='"version" is given twice'):
        Layout.from_json('{"version": 1, "version": 1}')


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(LayoutError, match="UTF-8"):
        Layout.from_json(b'{"version": "\xff"}')


@given(texts)
def test_problems_never_print_control_characters(caption: str) -> None:
    layout = Layout((replace(CAT, caption=caption, strength=9.0),))
    assert all(character.isprintable() for problem in layout.problems() for character in str(problem))


def test_a_layout_reads_itself_into_its_own_class_and_survives_pickling() -> None:
    layout = Layout.from_json(
        '{"version": 1, "canvas": {"width": 64, "height": 32, "a": 1}, "instances": [], "b": 2}'
    )
    assert type(layout) is Layout
    assert layout == Layout(canvas=Canvas(64, 32, {"a": 1}), extra={"b": 2})
    assert pickle.loads(pickle.dumps(layout)) == layout
    assert repr(layout).startswith("Layout(instances=()")
