"""The route that reads and writes layouts of other programs for the editor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comfyui_location import REPOSITORY

from instance_composer.hosts.comfyui.server import layouts

CANVAS = {"width": 200, "height": 100}
FIXTURES = sorted((REPOSITORY / "tests" / "data" / "layouts").glob("*.json"))


@pytest.fixture
def ask(post):
    """`ask(**request)` is the value of an answer."""

    def ask(**request):
        status, reply = post(layouts.PATH, request)
        assert status == 200, reply
        return reply

    return ask


def test_a_text_becomes_a_document_and_a_document_a_text(ask):
    reply = ask(text="[20 10 100 60]: a red fox \U0001f98a", canvas=CANVAS)
    assert (reply["format"], reply["count"]) == ("lines", 1)
    document = json.loads(reply["document"])
    assert document["canvas"] == CANVAS
    assert document["instances"] == [
        {"id": "1", "box": [0.1, 0.1, 0.5, 0.6], "caption": "a red fox \U0001f98a"}
    ]
    written = json.loads(ask(document=reply["document"], format="coco")["text"])
    assert written["annotations"][0]["bbox"] == [20, 10, 80, 50]


def test_numbers_of_other_programs_come_through_as_they_are_written(ask):
    document = '{"version": 1, "canvas": {"width": 64, "height": 64, "a": 1.0}, "instances": [], "b": 1e2}'
    kept = ask(text=document)["document"]
    assert '"a": 1.0' in kept
    assert '"b": 100.0' in kept


def test_the_order_counts_where_a_format_takes_one_and_the_canvas_but_for_ifadapter(ask):
    boxes = json.dumps([{"caption": "a fox", "box": [0.1, 0.2, 0.3, 0.4]}])
    assert ask(text=boxes, order="yxyx")["count"] == 1
    assert ask(text=boxes)["error"]["code"] == "order_open"
    assert ask(text="0 0 1 1: a fox", order="yxyx")["count"] == 1
    ifadapter = json.dumps({"caption": "", "annotations": [{"box": [0, 0, 384, 768], "caption": ["a"]}]})
    (instance,) = json.loads(ask(text=ifadapter, canvas=CANVAS)["document"])["instances"]
    assert instance["box"] == [0, 0, 0.5, 1]


def test_unit_and_picture_count_where_a_format_takes_them_and_the_reading_is_told(ask):
    boxes = json.dumps([{"caption": "a fox", "box": [100, 200, 300, 400]}])
    asked = ask(text=boxes, order="xyxy", canvas={"width": 512, "height": 512})["error"]
    assert (asked["code"], asked["params"]["choices"]) == ("unit_open", "pixel, grid1000")
    reply = ask(text=boxes, order="xyxy", units="grid1000", image="", frame="")
    assert (reply["reading"]["units"], reply["reading"]["order"]) == ("grid1000", "xyxy")
    assert reply["reading"]["warnings"] == []
    images = [{"id": number, "width": 64, "height": 64, "file_name": f"{number}.jpg"} for number in (7, 8)]
    coco = json.dumps({"images": images, "annotations": [], "categories": []})
    assert ask(text=coco)["error"]["code"] == "choose_image"
    assert ask(text=coco, image="8.jpg")["count"] == 0
    frames = json.dumps([[], [{"x": 2, "y": 2, "width": 8, "height": 4, "label": "cat"}]])
    assert ask(text=frames, canvas=CANVAS)["error"]["code"] == "choose_frame"
    assert ask(text=frames, canvas=CANVAS, frame="1")["count"] == 1
    (warning,) = ask(text="10 10 20 20: a", canvas=CANVAS)["reading"]["warnings"]
    assert (warning["code"], warning["params"]["choices"]) == ("unit_taken", "percent, grid1000")
    known = ask(text='{"format": ["a"], "objects": [{"box": [0, 0, 1, 1]}]}')["error"]
    assert known["params"]["value"] == '["a"]'


def test_what_a_format_does_not_keep_is_named(ask):
    item = {"id": "fox", "box": [0, 0, 1, 1], "caption": "a", "strength": 2}
    document = json.dumps({"version": 1, "canvas": CANVAS, "prompt": "b", "instances": [item]})
    assert ask(document=document, format="omost")["lost"] == ["canvas", "ids", "strengths"]
    assert ask(document=document, format="layout")["lost"] == []


def test_an_error_has_a_code_and_its_place_in_units_of_a_text_field(ask):
    text = '\ufeff[{"caption": "\U0001f98a", "box": [0, 0, "1", 1]}]'
    error = ask(text=text)["error"]
    assert error.pop("message") == 'entry 1: box must be a number, got "1"'
    assert error == {
        "code": "need_number",
        "params": {"where": "entry 1: box", "value": '"1"'},
        "path": [0, "box", 2],
        "position": text.index('"1"') + 1,  # the fox takes two units
    }
    assert ask(document="{}", format="coco")["error"]["code"] == "unreadable"
    assert ask(text="0 0 1 1: a", format="tarot")["error"]["code"] == "unknown_format"


def test_a_layout_with_errors_is_not_written(ask):
    document = '{"version": 1, "canvas": {"width": 8, "height": 64}, "instances": []}'
    error = ask(document=document, format="coco")["error"]
    assert (error["code"], error["params"]["count"]) == ("has_errors", 1)


def test_long_words_are_cut(ask):
    many = json.dumps({"version": 1, "canvas": CANVAS, "instances": [1] * 1000})
    error = ask(text=many)["error"]
    assert error["params"]["count"] == 1000
    assert max(len(error["message"]), *(len(str(value)) for value in error["params"].values())) <= 2000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        ({}, 400),
        ({"text": 1}, 400),
        ({"text": "0 0 1 1: a", "format": 1}, 400),
        ({"document": "{}"}, 400),
        (b" " * (layouts.MOST_BYTES + 1), 413),
    ],
)
def test_anything_else_is_refused_with_a_reason(post, body, status):
    answered, reply = post(layouts.PATH, body)
    assert answered == status
    assert list(reply) == ["error"]


def test_a_fault_of_ours_goes_to_the_log_and_not_to_the_page(post, monkeypatch, caplog):
    def fail(text):
        raise RuntimeError("inside")

    monkeypatch.setattr(layouts.formats, "detect", fail)
    status, reply = post(layouts.PATH, {"text": "0 0 1 1: a"})
    assert (status, list(reply)) == (500, ["error"])
    assert "inside" not in reply["error"]
    assert "inside" in caplog.text


@pytest.mark.parametrize("canvas", [None, [], {"width": "8", "height": 8}, {"width": 0, "height": 8}])
def test_a_canvas_that_is_none_is_no_canvas(ask, canvas):
    assert ask(text="10 10 20 20: a", canvas=canvas)["error"]["code"] == "lines_pixels"


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_every_known_text_gets_an_answer_that_a_page_can_read(path: Path):
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if "text" not in entry:
            continue
        options = entry.get("options", {})
        width, height = options.get("canvas") or (None, None)
        asked = {"text": entry["text"], "format": entry.get("format"), "order": options.get("order")}
        asked["canvas"] = {"width": width, "height": height}
        said = layouts._answer(json.dumps(asked).encode())
        assert said is not None
        reply = json.loads(said, parse_constant=pytest.fail)
        if "error" in reply:
            assert reply["error"]["code"]
        elif not {"image", "frame", "units"} & set(options) and reply["format"] != "ifadapter":
            assert reply["document"] == entry["document"]
