"""Things are counted as reading, cutting and scaling the layout would leave them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instance_composer.layout import Canvas, Layout, LayoutError
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.looking.fitting import _plain_things, check_upright, fitted, things_left

PLAIN = {"id": "1", "box": [0.1, 0.2, 0.5, 0.6], "caption": "a cup"}
NUMBERS = st.sampled_from([0, 1, 0.0, 0.25, 0.5, 1.0, 1 / 3, 0.125, -0.1, 1.1, 3, 700, True, None, "0.5"])
ODD = {
    "id": st.sampled_from(["1", "2", "", 3, None]),
    "box": st.lists(NUMBERS, min_size=4, max_size=4) | st.sampled_from([[0, 0, 1], "box", None]),
    "caption": st.sampled_from(["a cup", " ", "", 4]),
    "negative": st.sampled_from(["", "blurry", 1]),
    "mask": st.sampled_from([None, {"polygon": [[0, 0], [0.3, 0], [0.3, 0.4]]}, {"polygon": []}]),
    "strength": NUMBERS,
    "start": NUMBERS,
    "end": NUMBERS,
    "enabled": st.sampled_from([True, False, 1]),
    "locked": st.sampled_from([True, "no"]),
    "color": st.sampled_from([None, "#ff0000", "red"]),
    "annotation": st.just({"score": 0.5}),
}
GOOD = st.tuples(*[st.floats(0, 1, width=32)] * 4).map(
    lambda x: {**PLAIN, "box": [*map(min, x[:2], x[2:]), *map(max, x[:2], x[2:])]}
)
INSTANCES = GOOD | st.fixed_dictionaries({}, optional=ODD).map(lambda odd: {**PLAIN, **odd}) | st.just(7)
CANVAS = st.sampled_from([{"width": 1024, "height": 768}, {"width": 20, "height": 20}, {"width": 9}, 4])
DOCUMENTS = st.fixed_dictionaries(
    {"version": st.sampled_from([1, 1, 1, 2, True]), "canvas": CANVAS, "instances": st.lists(INSTANCES)},
    optional={"prompt": st.sampled_from(["a table", 3]), "extra": st.just([1])},
).map(lambda data: {**data, "instances": numbered(data["instances"])})


def numbered(instances):
    """Nearly always with names of their own."""
    return [
        {**one, "id": str(number)} if isinstance(one, dict) and one["id"] == "1" else one
        for number, one in enumerate(instances)
    ]


def result(count, *arguments) -> int | str:
    try:
        return count(*arguments)
    except LayoutError as error:
        return str(error)


def as_trained(text: bytes, size, width: int, height: int) -> int:
    return len(fitted(Layout.from_json(text).checked(), size, width, height).active)


@given(
    DOCUMENTS,
    st.sampled_from([(640, 480), (480, 640), (1000, 100), (64, 64), (1999, 2001)]),
    st.sampled_from([(64, 64), (1024, 1024), (96, 64), (20_000, 64)]),
)
@example({"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [PLAIN, PLAIN]}, (9, 9), (64, 64))
def test_the_count_is_that_of_the_layout_as_it_is_trained(data, size, aim):
    text = json.dumps(data).encode()
    assert result(things_left, text, size, *aim) == result(as_trained, text, size, *aim)


def test_what_annotation_writes_needs_no_objects():
    data = {
        "version": 1,
        "canvas": {"width": 1024, "height": 1024},
        "prompt": "a table",
        "instances": [{**PLAIN, "annotation": {"word": "cup", "score": 0.9}}],
        "annotation": {"tags": ["cup"]},
    }
    assert _plain_things(data, (640, 480), 512, 512) == 1
    # At the left of a wide picture, of which the middle is trained.
    data["instances"][0]["box"] = [0.0, 0.0, 0.1, 1.0]
    assert _plain_things(data, (640, 480), 512, 512) == 0


@pytest.mark.parametrize("odd", ["NaN", "1e999", "9" * 400, '{"a": 1, "a": 2}', "[" * 70 + "]" * 70])
def test_what_no_layout_may_hold_is_refused_wherever_it_stands(odd):
    text = json.dumps({"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [], "x": math.pi})
    with pytest.raises(LayoutError):
        things_left(text.replace(str(math.pi), odd).encode(), (64, 64), 64, 64)


@pytest.mark.parametrize("canvas", [(640, 480), (320, 240), (427, 320), (1024, 1024), (640, 440)])
def test_a_canvas_of_another_size_or_none_of_its_own_is_no_fault(canvas):
    check_upright(Layout(canvas=Canvas(*canvas)).to_json().encode(), (640, 480))


@pytest.mark.parametrize("canvas", [(480, 640), (768, 1024)])
def test_a_layout_of_a_picture_that_was_turned_since_is_refused(canvas):
    with pytest.raises(SourceError, match=f"the canvas of its layout {canvas[0]} × {canvas[1]}"):
        check_upright(Layout(canvas=Canvas(*canvas)).to_json().encode(), (640, 480))
